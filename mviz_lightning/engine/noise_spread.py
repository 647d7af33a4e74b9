"""How much a model's outputs vary with the random numbers that it draws."""

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.agreement import COMPARED_DRAWS, spread
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.row_independence import trial_rows


def noise_spread(evaluator: Evaluator, probe: Probe) -> float:
    """Return how much a row's outputs vary from draw to draw, as a fraction of their spread over the rows.

    Args:
        evaluator: Runs the model.
        probe: Some examples.

    Returns:
        Root mean square over rows and outputs of the standard deviation over single draws, 0 or larger.
    """
    rows = Query.aligned(trial_rows(probe), len(probe.schema.names))
    draws = list(evaluator.each_draw(COMPARED_DRAWS, lambda: evaluator.plain_draw(probe, rows)))
    found = torch.stack(draws).double().cpu()
    return float(_finite(found.std(0) / spread(found.mean(0))).square().mean().sqrt())


def _finite(values: Tensor) -> Tensor:
    return values[values.isfinite()]


def noise_line(size: float, draws: int) -> str:
    """Return a line that states how much the noise moves the outputs, and how they are averaged.

    Args:
        size: The result of :func:`noise_spread`.
        draws: Number of draws over which outputs are averaged.
    """
    line = f"the model draws random numbers: its outputs vary by {size:.1%} of their spread from one draw to another"
    if draws > 1:
        return f"{line}; they are averaged over {draws} draws, each with the same noise in all rows"
    return (
        f"{line}; all rows get the noise of one draw. draws=8 averages over several, which takes as many times the rows"
    )
