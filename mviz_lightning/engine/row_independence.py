"""Check on a few examples that every row's outputs depend on that row alone, which all recombination requires."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.agreement import (
    ADVICE,
    MIXED_ROWS,
    NARROW,
    SAMPLED,
    UNSHARED,
    DisagreementError,
    deviation,
    disagreement,
    tolerance,
)
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import NotMeasurableError

TRIED_NUMBERS = 2**24
"""Largest number of outputs of a trial: 64 MiB in float32."""

FEWEST_TRIED = 4
"""Smallest number of examples of a trial."""

TRIAL_EXAMPLES = 16
"""Number of examples on which the model is tried: enough to see an influence, few enough to fit into memory."""

KEPT = "the model stores state between forwards"
"""Reason that an error gives if outputs depend on earlier forwards."""

ALL_PAIRS = (
    "outputs are {} for {} examples and {} for {}: the model compares every example of the batch with every other. "
    "Allowed is one row of scores per example. Pass predict=, a function (module, batch) -> scores, that returns the "
    "scores of the aligned pairs, scores.diagonal()[:, None]."
)
"""Message about a model whose number of outputs per row is the number of rows."""

TRIED_DRAWS, HELPED = 4, 0.75
"""Factor by which a trial increases the number of draws; largest ratio of the new difference to the old one.

Above this ratio, averaging does not help. With 4 times the draws, independent noise is half as large.
"""

MARGIN, MOST_DRAWS = 1.5, 1000
"""Safety factor on the proposed number of draws, which is otherwise enough on average only; and its largest value."""


def affordable_rows(numbers: int) -> int:
    """Return the number of examples on which a model is tried, given its outputs per example: fewer for large maps."""
    return max(FEWEST_TRIED, min(TRIAL_EXAMPLES, TRIED_NUMBERS // max(1, numbers)))


def trial_rows(probe: Probe) -> Tensor:
    """Return the ``(R,)`` examples on which the model is tried: a random sample of those in groups, in their order.

    Before groups are drawn, it is a sample of all examples. The examples of a sample can be recombined with one
    another.
    """
    everyone = torch.unique(probe.groups) if probe.groups.numel() else torch.arange(probe.size)
    kinds = probe.kinds[everyone]
    pool = everyone[kinds == kinds.mode().values]
    most = TRIAL_EXAMPLES if probe.by_position is None else affordable_rows(probe.by_position.numbers)
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:most]
    return pool[drawn.sort().values]


def check_independence(evaluator: Evaluator, probe: Probe, draws: int = 1) -> Tensor:
    """Check that a row's outputs depend on that row alone.

    The same rows are evaluated again, in reverse order, without half of them, and after another forward, at one draw of
    the noise. If some noise cannot be shared and several draws are allowed, the means over the draws are compared. From
    then on the evaluator averages over draws, and reuses no encodings.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        draws: Number of draws over which the outputs are averaged, if it is larger than the evaluator's own.

    Returns:
        ``(R, C)`` outputs of :func:`trial_rows`; fewer than 4 rows are repeated.

    Raises:
        NotMeasurableError: The outputs depend on the other rows, on random numbers, or on earlier forwards.
    """
    some = trial_rows(probe)
    rows = some[torch.arange(max(len(some), 4)) % len(some)]
    # In one chunk: smaller chunks could hold the same rows in every order.
    trial, draws = _Trial(replace(evaluator, chunk_size=len(rows), draws=1), probe, rows), max(draws, evaluator.draws)
    outputs, wrong = trial.outcome()
    if wrong is not None and draws > 1:
        trial = replace(trial, evaluator=replace(trial.evaluator, draws=draws))
        outputs, wrong = trial.outcome(NARROW)
        evaluator.average_unshared(draws)
    if wrong is not None:
        raise wrong.error(trial.averaging_advice(wrong))
    return outputs


@dataclass(frozen=True)
class _Comparison:
    """Two evaluations of the same rows.

    Attributes:
        size: Their deviation.
        rows: Number of rows.
        how: How they were evaluated the second time.
        reason: Why they may differ.
    """

    size: float
    rows: int
    how: str
    reason: str

    def error(self, advice: str) -> DisagreementError:
        """Return the error about this difference."""
        return disagreement(self.size, self.rows, self.how, self.reason, advice)


@dataclass(frozen=True)
class _Trial:
    """Evaluates the same rows in several ways.

    Attributes:
        evaluator: Runs the model.
        probe: Some examples.
        rows: ``(R,)`` the examples.
    """

    evaluator: Evaluator
    probe: Probe
    rows: Tensor

    def outcome(self, allowed: float = 0.0) -> tuple[Tensor, _Comparison | None]:
        """Return the outputs, and the first comparison that differs by more than allowed; rounding never counts.

        Raises:
            NotMeasurableError: The number of outputs per row changes with the number of rows.
        """
        outputs = evaluate_as_computed(self.evaluator, self.probe, self.rows)
        most = max(allowed, tolerance(outputs))
        return outputs, next((one for one in self._comparisons(outputs) if one.size > most), None)

    def _comparisons(self, outputs: Tensor) -> list[_Comparison]:
        evaluator, rows, half = self.evaluator, self.rows, (len(self.rows) + 1) // 2
        reason = UNSHARED if evaluator.noisy else MIXED_ROWS
        reverse, partial = (evaluate_as_computed(evaluator, self.probe, order) for order in (rows.flip(0), rows[:half]))
        # Random numbers that were not observed differ from one seed to another.
        again = evaluator if evaluator.noisy else replace(evaluator, seed=evaluator.seed + evaluator.draws)
        twice, after = evaluate_as_computed(again, self.probe, torch.cat([rows, rows.flip(0)])).tensor_split(2)
        if partial.shape[1] != outputs.shape[1]:
            raise NotMeasurableError(ALL_PAIRS.format(tuple(outputs.shape), len(rows), tuple(partial.shape), half))
        pairs = (
            (outputs, twice, "when evaluated again", SAMPLED),
            (outputs, reverse.flip(0), "in reverse order", reason),
            (outputs[:half], partial, f"without {len(rows) - half} of the others", reason),
            (outputs, after.flip(0), "after another forward", KEPT),
        )
        return [_Comparison(deviation(left, right), len(left), how, why) for left, right, how, why in pairs]

    def averaging_advice(self, wrong: _Comparison) -> str:
        """Return what to do about a difference: average over more draws, if that makes it smaller."""
        own = self.evaluator.draws
        more = replace(self, evaluator=replace(self.evaluator, draws=TRIED_DRAWS * own))
        outputs = evaluate_as_computed(more.evaluator, self.probe, self.rows)
        fewer = next(one.size for one in more._comparisons(outputs) if one.how == wrong.how)
        draws = math.ceil(own * MARGIN * (wrong.size / NARROW) ** 2) if wrong.size < math.inf else MOST_DRAWS + 1
        if fewer > HELPED * wrong.size or draws > MOST_DRAWS:
            return ADVICE
        return (
            f"{ADVICE} Or average the outputs over many draws: pass draws={draws}, which takes {draws} times the rows."
        )


def evaluate_as_computed(evaluator: Evaluator, probe: Probe, rows: Tensor) -> Tensor:
    """Return :func:`evaluate_aligned` outputs to compare, in the precision in which a language model computes them."""
    found = evaluate_aligned(evaluator, probe, rows)
    return found.to(evaluator.computed_in or found.dtype)


def evaluate_aligned(evaluator: Evaluator, probe: Probe, rows: Tensor) -> Tensor:
    """Return ``(R, C)`` outputs of the examples ``rows``, ``(R,)``, as they are, without reuse."""
    return evaluator.plain(probe, Query.aligned(rows, len(probe.schema.names)))
