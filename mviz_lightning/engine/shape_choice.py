"""Choose whether examples of different shapes are padded to the largest, or evaluated as the user's batches pad them.

Padding is cheaper: rows of all shapes fit into one forward. It is harmless if the model ignores padding, and wrong
otherwise: a recurrent network that was trained on sequences without padding would read its last step from the padding.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.agreement import deviation, tolerance
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import describe_error, warn_user

PADDED_EXAMPLES, WHOLE_EXAMPLES = 12, 4
"""Largest numbers of padded examples and of unpadded examples that are compared."""

SHARDED = "each process holds a part of the weights, so all must run equally many forwards"
"""Why examples of several shapes stay padded where weights are sharded."""


@dataclass(frozen=True)
class _Comparison:
    """What padding does to the outputs of a few examples.

    Attributes:
        deviation: Largest difference of their outputs, as a multiple of the outputs' spread; infinite if padded ones
            fail, NaN if they fail in their own shapes.
        allowed: Largest deviation that counts as agreement.
        obstacle: Why recombined examples cannot be evaluated in their own shapes; empty if they can.
    """

    deviation: float
    allowed: float
    obstacle: str = ""

    @property
    def harmless(self) -> bool:
        """Whether the outputs agree."""
        return self.deviation <= self.allowed


@dataclass
class ShapeChoice:
    """Decides at every run whether examples are padded to the largest; once unpadded, they stay so for good."""

    _refused: bool = False

    def of(self, evaluator: Evaluator, probe: Probe, ranks: Ranks) -> tuple[Probe, str]:
        """Return the probe in the shapes in which it is evaluated, and a line about the change; empty if there is none.

        Padding may begin to matter only once a model has learned, so a few examples are compared at every run. All
        processes decide alike.

        Args:
            evaluator: Runs the model.
            probe: All examples.
            ranks: The processes.

        Raises:
            RuntimeError: The model failed; on all processes alike.
        """
        if probe.own_shapes or self._refused or not probe.padded:
            return probe, ""
        with ranks.raise_on_all_ranks():
            own = _compare(evaluator, probe, compared_examples(probe))
        found = ranks.gather(own)
        if all(one.harmless for one in found):
            return probe, ""
        size = max(one.deviation for one in found)
        self._refused = any(one.obstacle for one in found)
        if self._refused:
            warn_user(_kept(size, next(one.obstacle for one in found if one.obstacle)))
            return probe, ""
        return replace(probe, own_shapes=True), _unpadded(size)


def compared_examples(probe: Probe) -> Tensor:
    """Return some padded examples, from little to much padding, and some that are not padded."""
    missing = torch.zeros(probe.size)
    for path, bounds in probe.padded.items():
        whole = torch.tensor(probe.leaves[path].shape[1:])
        missing += ((whole - bounds.diff(dim=-1).squeeze(-1)) / whole.clamp(min=1)).sum(1)
    order = missing.argsort(stable=True)
    whole, padded = order[missing[order] == 0], order[missing[order] > 0]
    return torch.cat([_spread_out(whole, WHOLE_EXAMPLES), _spread_out(padded, PADDED_EXAMPLES)])


def _spread_out(examples: Tensor, count: int) -> Tensor:
    """Return up to ``count`` examples at equal distances, the first and the last among them."""
    return examples[torch.linspace(0, len(examples) - 1, min(count, len(examples))).round().long()]


def _compare(evaluator: Evaluator, probe: Probe, examples: Tensor) -> _Comparison:
    own = replace(probe, own_shapes=True)
    aligned = Query.aligned(examples, len(probe.schema.names))
    expected, failure = _attempt(evaluator, own, aligned)
    if expected is None:
        evaluator.plain(probe, aligned)  # if the model fails on any rows, this run fails, and nothing is decided
        return _Comparison(math.nan, 0.0, failure)
    padded, _ = _attempt(evaluator, probe, aligned)
    size = math.inf if padded is None else deviation(expected, padded)
    compared = _Comparison(size, tolerance(expected))
    if compared.harmless:
        return compared
    obstacle = SHARDED if evaluator.sharded else _attempt(evaluator, own, _recombined(aligned))[1]
    return replace(compared, obstacle=obstacle)


def _attempt(evaluator: Evaluator, probe: Probe, query: Query) -> tuple[Tensor | None, str]:
    """Return the outputs, or why there are none."""
    try:
        return evaluator.plain(probe, query), ""
    except Exception as error:
        if ran_out(error):
            raise
        return None, describe_error(error)


def _recombined(aligned: Query) -> Query:
    """Return rows whose modalities come from different examples, if possible of different shapes."""
    count, modalities = aligned.sources.shape
    return Query(torch.stack([column.roll(m * (count // modalities)) for m, column in enumerate(aligned.sources.T)], 1))


def _unpadded(size: float) -> str:
    return (
        "examples are evaluated in groups of equal shape, without further padding: padded to the largest, their "
        f"outputs {_differ(size)}"
    )


def _kept(size: float, obstacle: str) -> str:
    return (
        f"examples of different shapes are padded to the largest, although their outputs then {_differ(size)}: "
        f"in their own shapes they cannot be recombined ({obstacle}). So the shares are those of padded examples. Give "
        "all validation batches one shape, or let the model ignore padding."
    )


def _differ(size: float) -> str:
    if math.isnan(size):
        return "may differ"
    return "fail" if math.isinf(size) else f"differ by up to {size:.2g} of their spread"
