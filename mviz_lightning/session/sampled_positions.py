"""The positions at which outputs are read, and the score over all positions."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.batch import Probe
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.engine.decomposed_calls import read_by
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.positions import PositionAxes, SampleReader, WholeReader
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.contribution_shares.position_shares import PositionShares
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import NEVER
from mviz_lightning.functional.position_sampling import lattice_places, slot_places
from mviz_lightning.functional.scores import comparable, labelled_predictions
from mviz_lightning.metrics.local import local_value

SCORED_BYTES = 64 * 2**20
"""Largest memory of the outputs of a forward that is scored, in bytes: 64 MiB."""

SCORED_AT_ONCE = 2**16
"""Largest number of positions that a metric gets at once."""

WIDE = 8
"""Bytes of a float64 number, the type in which scores are computed."""


def places_of(probe: Probe, positions: int, seed: int) -> Tensor:
    """Draw the positions at which every example is read, once for a training.

    Args:
        probe: The fixed examples, in groups, with labels by position.
        positions: Largest number of positions of an example.
        seed: Seed of the sample.

    Returns:
        ``(N, P)`` long. All examples of a group have the same positions; sequences of different lengths have the same
        slots.
    """
    found, generator = labels_by_position(probe), torch.Generator().manual_seed(seed)
    known = found.known()
    count = _count(found, known[probe.groups.flatten()], positions)
    rest = torch.ones(probe.size, dtype=torch.bool).index_fill(0, probe.groups.flatten(), value=False)
    places = torch.zeros(probe.size, count, dtype=torch.long)
    for group in (*probe.groups, rest.nonzero()[:, 0]):  # the reference set is read as one more group
        if len(group):
            places[group] = _places(found, known, group, count, generator)
    return places


def _count(found: PositionLabels, known: Tensor, positions: int) -> int:
    """Return the number of sampled positions of an example; fewer than ``positions`` if there are not as many."""
    if found.carrier is not None:
        return max(1, min(positions, int(known.sum(1).max())))
    return min(positions, known.shape[1]) if bool(known.all()) else positions


def _places(found: PositionLabels, known: Tensor, group: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if found.carrier is not None:
        return slot_places(known[group], count, generator)
    return lattice_places(_sort_key(found.labels[group]), known[group], count, generator)


def _sort_key(labels: Tensor) -> Tensor:
    """Return ``(g, L)`` values by which labels are sorted: for several labels of a position, their weighted sum."""
    if labels.dim() == 2:
        return labels
    flat = labels.flatten(2).double().nan_to_num()
    return flat @ torch.arange(1, flat.shape[2] + 1, dtype=flat.dtype)


def labels_by_position(probe: Probe) -> PositionLabels:
    """Return the labels of all positions.

    Raises:
        RuntimeError: There are none.
    """
    if probe.by_position is None:
        raise RuntimeError("the fixed examples have no labels by position.")
    return probe.by_position


def sampled(evaluator: Evaluator, axes: PositionAxes, probe: Probe, places: Tensor) -> Evaluator:
    """Return an evaluator that reads the outputs at sampled positions ``(N, P)``."""
    carrier = labels_by_position(probe).carrier or 0
    return read_by(evaluator, SampleReader(axes, places, carrier))


@dataclass(frozen=True)
class WholeScore:
    """The score over all labelled positions of some examples.

    Attributes:
        metric: The score, updated.
    """

    metric: Metric

    def value(self, *, sync: bool) -> float:
        """Return the score; of all processes together if ``sync``."""
        return float(self.metric.compute() if sync else local_value(self.metric))


def score_of_all_positions(
    shares: PositionShares, probe: Probe, evaluator: Evaluator, axes: PositionAxes, groups: Tensor
) -> WholeScore:
    """Score real examples at all their labelled positions, without keeping all outputs.

    Args:
        shares: The shares, which have the score.
        probe: The fixed examples.
        evaluator: Runs the model.
        axes: The axes of positions and classes in its outputs.
        groups: ``(G, g)`` the examples.
    """
    found = labels_by_position(probe)
    metric = shares.whole_score(probe, found.outputs).to(evaluator.device)
    for examples in _chunks(groups.flatten(), found, evaluator.chunk_size):
        outputs, labels = _at_labels(probe, evaluator, axes, examples)
        for some, truth in zip(torch.split(outputs, SCORED_AT_ONCE), torch.split(labels, SCORED_AT_ONCE), strict=True):
            if len(truth):
                metric.update(*labelled_predictions(_finite(some, shares.task), truth, shares.task))
    return WholeScore(metric)


def _finite(outputs: Tensor, task: Task) -> Tensor:
    """Return outputs in the form that scores compare; without a masked class they keep their type, which is fast."""
    plain = outputs.dtype in (torch.float32, torch.float64) and bool((outputs > NEVER).all())
    return outputs if plain else comparable(outputs, task)


def _chunks(examples: Tensor, found: PositionLabels, most: int) -> Iterator[Tensor]:
    """Yield examples in chunks whose outputs fit into memory; sequences of their own lengths come one by one."""
    example = found.labels.shape[1] * found.outputs * WIDE
    fitting = 1 if found.carrier is not None else max(1, min(most, SCORED_BYTES // example))
    yield from torch.split(examples, fitting)


def _at_labels(probe: Probe, evaluator: Evaluator, axes: PositionAxes, examples: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(n, C)`` outputs and ``(n, ...)`` labels at all labelled positions of some examples."""
    found, rows = labels_by_position(probe), Query.aligned(examples, len(probe.schema.names))
    known = found.known(examples)
    if not bool(known.any()):
        return torch.zeros(0, found.outputs), found.labels[:0]
    if found.carrier is None:
        outputs = read_by(evaluator, WholeReader(axes)).plain(probe, rows)
        outputs = outputs.view(len(examples), -1, found.outputs)[known.to(outputs.device)]
    else:
        places = torch.zeros(probe.size, int(known.sum()), dtype=torch.long)
        places[examples] = known[0].nonzero()[:, 0]
        outputs = sampled(evaluator, axes, probe, places).plain(probe, rows).view(-1, found.outputs)
    labels = found.labels[examples][known]
    return outputs, (labels if labels.is_floating_point() else labels.long()).to(outputs.device)
