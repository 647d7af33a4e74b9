"""Check on a few examples that every row's outputs depend on that row alone: the condition of all recombination."""

from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional.outputs import masked_classes

TRIAL_EXAMPLES = 16
"""Number of examples on which the dry run tries the model: enough to see an influence, few enough for any memory."""


def check_independence(evaluator: Evaluator, probe: Probe) -> Tensor:
    """Check that a row's outputs depend on that row alone.

    The same rows are evaluated again, in reverse order, without half of them, and after another forward.

    Args:
        evaluator: Runs the model.
        probe: Some examples.

    Returns:
        ``(R, C)`` outputs of the probe's first rows.

    Raises:
        ConfigurationError: The outputs depend on the other rows, on random numbers, or on earlier forwards.
    """
    count = min(TRIAL_EXAMPLES, probe.size)
    # Fewer than 4 examples are repeated.
    rows = torch.arange(max(count, 4)) % count
    half = (len(rows) + 1) // 2
    # In one chunk: smaller chunks could hold the same rows in every order.
    evaluator = replace(evaluator, chunk_size=len(rows))
    outputs, reverse, partial = (
        evaluate_aligned(evaluator, probe, order) for order in (rows, rows.flip(0), rows[:half])
    )
    twice = evaluate_aligned(replace(evaluator, seed=evaluator.seed + 1), probe, torch.cat([rows, rows.flip(0)]))
    again, after = twice.tensor_split(2)
    if partial.shape[1] != outputs.shape[1]:
        raise ConfigurationError(
            f"outputs are {tuple(outputs.shape)} for {len(rows)} examples and {tuple(partial.shape)} for {half}: "
            "the model compares every example of the batch with every other. Allowed is one row of scores per example. "
            "Pass predict=, a function (module, batch) -> scores, that returns those of the aligned pairs, "
            "scores.diagonal()[:, None]."
        )
    _compare(outputs, again, "when evaluated again", "something is sampled in evaluation mode")
    _compare(outputs, reverse.flip(0), "in reverse order", MIXED_ROWS)
    _compare(outputs[:half], partial, f"without {len(rows) - half} of the others", MIXED_ROWS)
    _compare(outputs, after.flip(0), "after another forward", "the model keeps something of one forward for the next")
    return outputs


MIXED_ROWS = (
    "examples of a batch influence one another (BatchNorm that uses batch statistics in evaluation mode, contrastive "
    "scores, attention over the batch, a table in the batch that happens to have as many rows as the batch)"
)
"""The reason that an error gives if outputs depend on the other rows."""


def evaluate_aligned(evaluator: Evaluator, probe: Probe, rows: Tensor) -> Tensor:
    """Return ``(R, C)`` outputs of the examples ``rows``, ``(R,)``, as they are, without reuse."""
    return evaluator.plain(probe, Query.aligned(rows, len(probe.schema.names)))


def outputs_agree(left: Tensor, right: Tensor) -> bool:
    """Tell whether two ``(R, C)`` outputs are equal up to rounding; columns of masked classes do not count."""
    return left.shape == right.shape and _deviation(*live_columns(left, right)) <= tolerance(left)


def live_columns(outputs: Tensor, *others: Tensor) -> list[Tensor]:
    """Return the outputs, and others, without the columns that a mask fills with huge numbers."""
    live = ~masked_classes(outputs, "multilabel")
    return [columns[:, live] for columns in (outputs, *others)]


def tolerance(outputs: Tensor) -> float:
    """Return the largest difference that rounding explains, as a fraction of the largest output."""
    return 2e-2 if torch.finfo(outputs.dtype).bits < 32 else 1e-3


def _deviation(left: Tensor, right: Tensor) -> float:
    largest = left.double().abs().max().clamp(min=1e-30)
    return float((left.double() - right.double()).abs().max() / largest)


def _compare(expected: Tensor, found: Tensor, how: str, reason: str) -> None:
    if not bool(live_columns(expected)[0].isfinite().all()):
        return  # `usable` reports NaN; no comparison with NaN is meaningful
    if not outputs_agree(expected, found):
        raise ConfigurationError(
            f"the same examples gave other outputs {how} (largest difference "
            f"{_deviation(*live_columns(expected, found)):.2g} of the largest output): {reason}. "
            "Outputs of recombined rows would have no meaning. Make the model deterministic and row-wise in evaluation "
            "mode, or pass predict=, a function (module, batch) -> scores, that calls a submodule which is."
        )
