"""Compare a way of calling the model with the scores that the user's own step computed for the same examples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import COMPARED_DRAWS, agree, deviation, deviation_beyond_noise, tolerance
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import describe_error
from mviz_lightning.observation.events import OBSERVED_ROWS
from mviz_lightning.observation.position_links import few_positions
from mviz_lightning.observation.ways import Way


@dataclass(frozen=True)
class CheckedWay:
    """A way whose outputs are compared with the user's own.

    Attributes:
        way: The way.
        deviation: Largest difference, as a multiple of the spread of the user's own scores; infinite if it failed.
        agrees: Whether the outputs are the user's own, up to rounding.
        failure: Why it failed; ``""`` if it ran.
    """

    way: Way
    deviation: float
    agrees: bool
    failure: str = ""


def first_agreeing(
    ways: Iterable[Way],
    own: Tensor,
    probe: Probe,
    evaluator_of: Callable[[Predict], Evaluator],
    axes: PositionAxes | None = None,
) -> tuple[CheckedWay | None, list[CheckedWay]]:
    """Return the first way that gives the user's own scores, and all that were tried.

    Args:
        ways: The ways, the preferred one first.
        own: ``(R, C)`` or ``(R,)`` scores of the probe's first R examples, as the step computed them.
        probe: The examples.
        evaluator_of: Makes the evaluator that calls the model this way.
        axes: Where positions and classes are, if ``own`` holds ``(R * P, C)`` scores of a few positions.
    """
    tried: list[CheckedWay] = []
    for way in ways:
        tried.append(checked(way, own, probe, evaluator_of(way.call.predict), axes))
        if tried[-1].agrees:
            return tried[-1], tried
    return None, tried


def checked(way: Way, own: Tensor, probe: Probe, evaluator: Evaluator, axes: PositionAxes | None = None) -> CheckedWay:
    """Compare a way with the user's own scores; it must run on fewer rows and on recombined ones too."""
    count = min(OBSERVED_ROWS, probe.size) if axes is not None else min(len(own), probe.size)
    # Scores with as many columns as examples may be those of all pairs.
    square = axes is None and own.dim() == 2 and own.shape[1] != 1 and own.shape[1] >= count
    try:
        other_draws = replace(evaluator, seed=evaluator.seed + 1)
        found = _raw(other_draws, probe, _aligned(torch.arange(count), probe), axes)
        fewer = _raw(evaluator, probe, _aligned(torch.arange(max(1, count // 2)), probe), axes)
        _raw(evaluator, probe, _recombined(count, probe), axes)
    except Exception as error:
        return CheckedWay(way, float("inf"), agrees=False, failure=describe_error(error))
    own = own[:count, : found.shape[1]] if square and found.dim() == 2 else own[: len(found)]
    if evaluator.noisy:
        size = _beyond_noise(own, count, probe, evaluator, axes)
        return CheckedWay(way, size, agrees=size <= tolerance(own))
    if way.views is not None or probe.schema.has_views:  # in the wrong order, fewer examples have other scores
        own, found = torch.cat([own, own[: len(fewer)]]), torch.cat([found, fewer])
    own, found = _columns(own.cpu()), _columns(found.cpu())
    return CheckedWay(way, deviation(own, found), agrees=own.shape == found.shape and agree(own, found))


def _beyond_noise(own: Tensor, count: int, probe: Probe, evaluator: Evaluator, axes: PositionAxes | None) -> float:
    """Return how far scores with their own noise are from those of several draws of the noise."""
    aligned = _aligned(torch.arange(count), probe)
    draws = evaluator.each_draw(COMPARED_DRAWS, lambda: _columns(_raw(evaluator, probe, aligned, axes)))
    return deviation_beyond_noise(_columns(own), torch.stack(list(draws)))


def _raw(evaluator: Evaluator, probe: Probe, query: Query, axes: PositionAxes | None) -> Tensor:
    """Return the call's outputs in any shape, also for a single row; with many positions, a few from one forward."""
    found = evaluator.evaluated(
        probe, lambda: evaluator.predict(evaluator.module, probe.batch(query.sources, {}, evaluator.device))
    )
    if not isinstance(found, Tensor) or found.dim() == 0 or len(found) != len(query):
        raise ValueError(f"returned {tuple(getattr(found, 'shape', ()))} for {len(query)} examples")
    return found.detach() if axes is None else few_positions(found.detach(), axes)


def _aligned(rows: Tensor, probe: Probe) -> Query:
    return Query.aligned(rows, len(probe.schema.names))


def _recombined(count: int, probe: Probe) -> Query:
    """Return rows in which each modality comes from another example."""
    rows = torch.arange(count)
    return Query(torch.stack([rows.roll(place) for place in range(len(probe.schema.names))], 1))


def _columns(outputs: Tensor) -> Tensor:
    return outputs.unsqueeze(1) if outputs.dim() == 1 else outputs
