"""Dual encoders, which score the first modality of every example against the second modality of every example."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import scores

TRIED_EXAMPLES = 8
"""Largest number of examples on which the model is tried."""


def scores_all_pairs(evaluator: Evaluator, probe: Probe) -> bool:
    """Tell whether the model scores all pairs of the two modalities.

    For B examples such a model returns ``(B, B)`` scores. The score in row i and column j does not depend on the other
    examples, and it is the score on the diagonal if example i gets the second modality of example j.

    Args:
        evaluator: Runs the model.
        probe: Some examples; with fewer than 3, the function returns False.
    """
    count = min(TRIED_EXAMPLES, probe.size)
    if len(probe.schema.names) != 2 or count < 3:
        return False
    own = torch.arange(count)
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        grid, part, swapped = (
            _raw_scores(evaluator, probe, torch.stack([rows, partners], 1))
            for rows, partners in ((own, own), (own[:-1], own[:-1]), (own, own.roll(1)))
        )
    if grid.shape != (count, count) or part.shape != (count - 1, count - 1):
        return False
    close = partial(torch.allclose, rtol=1e-3, atol=1e-5 * float(grid.abs().max()))
    return close(grid[own, own.roll(1)], swapped.diagonal()) and close(grid[:-1, :-1], part)


def _raw_scores(evaluator: Evaluator, probe: Probe, sources: Tensor) -> Tensor:
    return scores(evaluator.predict(evaluator.module, probe.batch(sources, {}, evaluator.device)))


def transposed(predict: Predict) -> Callable[[nn.Module, Any], Tensor]:
    """Return a call of a model whose rows stand for the second modality that returns them as columns."""

    def turned(module: nn.Module, batch: Any) -> Tensor:
        return scores(predict(module, batch)).T

    return turned


def diagonal(predict: Predict) -> Callable[[nn.Module, Any], Tensor]:
    """Return a call of the model that returns the scores of the aligned pairs alone, ``(B, 1)``."""

    def aligned(module: nn.Module, batch: Any) -> Tensor:
        return scores(predict(module, batch)).diagonal().unsqueeze(1)

    return aligned
