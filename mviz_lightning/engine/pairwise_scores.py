"""Dual encoders, which score the first modality of every example against the second modality of every example."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import scores

TRIED_EXAMPLES = 8
"""Largest number of examples on which the model is tried."""


def all_pairs_call(evaluator: Evaluator, probe: Probe) -> Predict | None:
    """Return the call that scores the first modality of all rows against the second modality of all rows.

    For B examples a dual encoder returns ``(B, B)`` scores. The score in row i and column j does not depend on the
    other examples. It equals the score on the diagonal if example i gets the second modality of example j. Some models,
    or some of their outputs, have the second modality in the rows; then the call returns their transpose.

    Args:
        evaluator: Runs the model.
        probe: Some examples; fewer than 3 are not enough to decide.

    Returns:
        The call; None if the model does not score all pairs.
    """
    count = min(TRIED_EXAMPLES, probe.size)
    if len(probe.schema.names) != 2 or count < 3:
        return None
    own = torch.arange(count)
    queries = [torch.stack(pair, 1) for pair in ((own, own), (own[:-1], own[:-1]), (own, own.roll(1)))]
    grid, part, swapped = evaluator.evaluated(
        probe, lambda: [_raw_scores(evaluator, probe, sources) for sources in queries]
    )
    if grid.shape != (count, count) or part.shape != (count - 1, count - 1):
        return None
    close = partial(torch.allclose, rtol=1e-3, atol=1e-5 * float(grid.abs().max()))
    if not close(grid[:-1, :-1], part):
        return None
    calls = ((evaluator.predict, grid), (transposed(evaluator.predict), grid.T))
    fitting = (call for call, found in calls if close(found[own, own.roll(1)], swapped.diagonal()))
    return next(fitting, None)


def _raw_scores(evaluator: Evaluator, probe: Probe, sources: Tensor) -> Tensor:
    return scores(evaluator.predict(evaluator.module, probe.batch(sources, {}, evaluator.device)))


def transposed(predict: Predict) -> Predict:
    """Return a call of the model that returns ``(B, B)`` scores with rows and columns exchanged."""
    return lambda module, batch: scores(predict(module, batch)).T


def diagonal(predict: Predict) -> Callable[[nn.Module, Any], Tensor]:
    """Return a call of the model that returns the scores of the aligned pairs alone, ``(B, 1)``."""

    def aligned(module: nn.Module, batch: Any) -> Tensor:
        return scores(predict(module, batch)).diagonal().unsqueeze(1)

    return aligned
