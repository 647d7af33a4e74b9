"""Read outputs with positions for explanations: the mean over a region, or a lattice of positions."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch.explained_regions import ExplainedRegions
from mviz_lightning.engine.decomposed_calls import DecomposedReader, read_by
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.output_reader import OutputReader
from mviz_lightning.engine.positions import PositionAxes, SampleReader, even_places, examples_read, map_of
from mviz_lightning.engine.query import Query
from mviz_lightning.functional.position_sampling import mapped, slots

FINEST = 64
"""Largest number of positions along each axis of a map of effects, and of slots of a sequence."""


@dataclass(frozen=True)
class RegionReader:
    """Reads the mean of the outputs over the region of the example that each row reads.

    Where positions belong to the example of one modality, tokens of a text for example, the region of another example
    is read at the same relative places.

    Attributes:
        axes: Where positions and classes lie.
        regions: The region of every example.
        outputs: How outputs are read otherwise: it tells whether what is read are logits of probabilities.
    """

    axes: PositionAxes
    regions: ExplainedRegions
    outputs: OutputReader

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, C)``."""
        found, carrier = map_of(outputs, len(rows)), self.regions.labels.carrier
        read = examples_read(rows, carrier or 0)
        carried = read if carrier is None else rows.sources[:, carrier]
        pairs, place = torch.unique(torch.stack([read, carried], 1), dim=0, return_inverse=True)
        means = [self._mean(found[(place == k).to(found.device)], *pair) for k, pair in enumerate(pairs.tolist())]
        order = torch.cat([(place == k).nonzero()[:, 0] for k in range(len(pairs))]).argsort()
        return torch.cat(means)[order.to(found.device)]

    def _mean(self, found: Tensor, example: int, carried: int) -> Tensor:
        places = self.regions.places(example)
        if example != carried:
            known = self.regions.labels.known(torch.tensor([example, carried]))
            places = mapped(known[0].cumsum(0)[places] - 1, int(known[0].sum()), known[1])
        at = self.axes.take(found, places.expand(len(found), -1))
        if isinstance(self.outputs, DecomposedReader):
            at = self.outputs.of(at)
        return at.mean(1)


@dataclass(frozen=True)
class GroupRegionsReader:
    """Reads each row in the regions of several examples: those of all members of its group.

    Attributes:
        regions: Reads one region of each row.
        members: ``(N, K)`` long: the examples whose regions are read of a row with each example in its first modality.
    """

    regions: RegionReader
    members: Tensor

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, K * C)``, region by region."""
        read = self.members[rows.sources[:, 0]].unbind(1)
        return torch.cat([self.regions(outputs, replace(rows, read=examples)) for examples in read], 1)


@dataclass(frozen=True)
class ExplainedMaps:
    """What explanations of outputs with positions need to know of them.

    Attributes:
        axes: Where positions and classes lie in the outputs.
        regions: The region of every example.
    """

    axes: PositionAxes
    regions: ExplainedRegions

    @property
    def places(self) -> Tensor:
        """``(N, P)`` long: a lattice of positions, the same in all examples; or the slots of each example's tokens."""
        labels = self.regions.labels
        if labels.carrier is not None:
            known = labels.known()
            return slots(known, max(1, min(FINEST, int(known.sum(1).max()))))
        return lattice_of(labels.lattice)[1].flatten().expand(len(labels), -1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the lattice of :attr:`places`: ``(H', W')``, or ``(P,)``."""
        labels = self.regions.labels
        return (self.places.shape[1],) if labels.carrier is not None else tuple(lattice_of(labels.lattice)[1].shape)

    def region_evaluator(self, evaluator: Evaluator) -> Evaluator:
        """Return an evaluator of the regions' outputs."""
        return replace(evaluator, reader=RegionReader(self.axes, self.regions, evaluator.reader), head=evaluator.head)

    def group_evaluator(self, evaluator: Evaluator, groups: Tensor) -> Evaluator:
        """Return an evaluator of the outputs of the regions of all members of a row's group.

        Args:
            evaluator: One of :meth:`region_evaluator`.
            groups: ``(G, g)`` examples; an example of no group is read in its own region, g times.
        """
        members = torch.arange(len(self.regions.labels)).unsqueeze(1).repeat(1, groups.shape[1])
        members[groups] = groups.unsqueeze(1)
        return replace(evaluator, reader=GroupRegionsReader(evaluator.reader, members))

    def lattice_evaluator(self, evaluator: Evaluator) -> Evaluator:
        """Return an evaluator of the outputs at :attr:`places`, from one of :meth:`region_evaluator`."""
        before = evaluator.reader
        plain = replace(evaluator, reader=before.outputs) if isinstance(before, RegionReader) else evaluator
        return read_by(plain, SampleReader(self.axes, self.places, self.regions.labels.carrier or 0))


def lattice_of(lattice: tuple[int, ...]) -> tuple[tuple[int, ...], Tensor]:
    """Return the numbers of positions at equal distances, up to :data:`FINEST` along each axis, in their shape."""
    along = [even_places(size, FINEST) for size in lattice]
    numbers = torch.arange(torch.Size(lattice).numel()).view(lattice)
    for axis, places in enumerate(along):
        numbers = numbers.index_select(axis, places)
    return lattice, numbers
