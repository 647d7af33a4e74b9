"""Models whose output already is the grid: dual encoders that score every example against every other."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.calling import Predict, scores
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated

PAIRS = 8
"""Examples that are tried."""


def scores_all_pairs(evaluator: Evaluator, probe: Probe) -> bool:
    """Tell whether the model scores the first modality of every example against the second of every other.

    Its outputs are as many for each example as there are examples, whoever else is in the batch, and that of row i and
    column j is the one that example i gets on the diagonal when it is given j's second modality.

    Args:
        evaluator: Asks the model.
        probe: Some examples, three at the least.
    """
    count = min(PAIRS, probe.size)
    if len(probe.layout.names) != 2 or count < 3:
        return False
    own = torch.arange(count)
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        grid, part, swapped = (
            _asked(evaluator, probe, torch.stack([rows, partners], 1))
            for rows, partners in ((own, own), (own[:-1], own[:-1]), (own, own.roll(1)))
        )
    if grid.shape != (count, count) or part.shape != (count - 1, count - 1):
        return False
    close = partial(torch.allclose, rtol=1e-3, atol=1e-5 * float(grid.abs().max()))
    return close(grid[own, own.roll(1)], swapped.diagonal()) and close(grid[:-1, :-1], part)


def _asked(evaluator: Evaluator, probe: Probe, sources: Tensor) -> Tensor:
    return scores(evaluator.predict(evaluator.module, probe.batch(sources, {}, evaluator.device)))


def diagonal(predict: Predict) -> Callable[[nn.Module, Any], Tensor]:
    """Return the call that gives the scores of the aligned pairs alone, ``(B, 1)``."""

    def aligned(module: nn.Module, batch: Any) -> Tensor:
        return scores(predict(module, batch)).diagonal().unsqueeze(1)

    return aligned
