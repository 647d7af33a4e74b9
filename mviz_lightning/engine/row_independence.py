"""Check on a few examples that every row's outputs depend on that row alone: the condition of all recombination."""

from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.agreement import MIXED_ROWS, SAMPLED, require_agreement
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError

TRIAL_EXAMPLES = 16
"""Number of examples on which the model is tried: enough to see an influence, few enough for any memory."""


def trial_rows(probe: Probe) -> Tensor:
    """Return the ``(R,)`` examples on which the model is tried: a random sample of those in groups, in their order.

    Before groups are drawn, it is a sample of all examples.
    """
    pool = torch.unique(probe.groups) if probe.groups.numel() else torch.arange(probe.size)
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:TRIAL_EXAMPLES]
    return pool[drawn.sort().values]


def check_independence(evaluator: Evaluator, probe: Probe) -> Tensor:
    """Check that a row's outputs depend on that row alone.

    The same rows are evaluated again, in reverse order, without half of them, and after another forward.

    Args:
        evaluator: Runs the model.
        probe: Some examples.

    Returns:
        ``(R, C)`` outputs of :func:`trial_rows`; of fewer than 4 several times.

    Raises:
        ConfigurationError: The outputs depend on the other rows, on random numbers, or on earlier forwards.
    """
    some = trial_rows(probe)
    rows = some[torch.arange(max(len(some), 4)) % len(some)]
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
    require_agreement(outputs, again, "when evaluated again", SAMPLED)
    require_agreement(outputs, reverse.flip(0), "in reverse order", MIXED_ROWS)
    require_agreement(outputs[:half], partial, f"without {len(rows) - half} of the others", MIXED_ROWS)
    require_agreement(
        outputs, after.flip(0), "after another forward", "the model keeps something of one forward for the next"
    )
    return outputs


def evaluate_aligned(evaluator: Evaluator, probe: Probe, rows: Tensor) -> Tensor:
    """Return ``(R, C)`` outputs of the examples ``rows``, ``(R,)``, as they are, without reuse."""
    return evaluator.plain(probe, Query.aligned(rows, len(probe.schema.names)))
