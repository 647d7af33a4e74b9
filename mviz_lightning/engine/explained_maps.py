"""Read outputs with positions for explanations: the mean over a region, or a lattice of positions."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch.explained_regions import ExplainedRegions
from mviz_lightning.engine.decomposed_calls import DecomposedReader, read_by
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.feature_maps import FeaturedReader, feature_axes, with_feature_maps
from mviz_lightning.engine.output_reader import ROW_READER, OutputReader
from mviz_lightning.engine.positions import PositionAxes, SampleReader, even_places, examples_read, map_of, resized
from mviz_lightning.engine.query import Query
from mviz_lightning.functional.position_sampling import mapped, slots

FINEST = 64
"""Largest number of positions along each axis of a map of effects, and of slots of a sequence."""


@dataclass(frozen=True)
class RegionReader:
    """Reads the mean of the outputs over a region: the region of the example that each row reads.

    Where positions belong to the example of one modality, tokens of a text for example, the region of another example
    is read at the same relative places. On a map of another resolution, of features for example, the region is
    rescaled.

    Attributes:
        axes: Where positions and classes are.
        regions: The region of every example.
        outputs: The reader that is used elsewhere; a :class:`DecomposedReader` if logits are read from probabilities.
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
        alike = [(place == k).nonzero()[:, 0] for k in range(len(pairs))]
        means = [self._mean(found, some, *pair) for some, pair in zip(alike, pairs.tolist(), strict=True)]
        return torch.cat(means)[torch.cat(alike).argsort().to(found.device)]

    def _mean(self, found: Tensor, rows: Tensor, example: int, carried: int) -> Tensor:
        """Return ``(r, C)``: the mean of some rows over the region of an example, in the positions of another."""
        places = self.regions.places(example)
        if example != carried:
            known = self.regions.labels.known(torch.tensor([example, carried]))
            places = mapped(known[0].cumsum(0)[places] - 1, int(known[0].sum()), known[1])
        places = resized(places, self.regions.labels.lattice, self.axes.lattice(tuple(found.shape)))
        at = self.axes.take(found, places.expand(len(rows), -1), rows)
        if isinstance(self.outputs, DecomposedReader):
            at = self.outputs.of(at)
        return at.mean(1)


@dataclass(frozen=True)
class GroupRegionsReader:
    """Reads each row in the regions of several examples: of all members of its group.

    Attributes:
        regions: Reads one region of each row.
        members: ``(N, K)`` long: for a row with each example in its first modality, the examples whose regions are
            read.
    """

    regions: OutputReader
    members: Tensor

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, K * C)``, region by region."""
        read = self.members[rows.sources[:, 0]].unbind(1)
        return torch.cat([self.regions(outputs, replace(rows, read=examples)) for examples in read], 1)


@dataclass(frozen=True)
class ExplainedMaps:
    """What explanations of outputs with positions use.

    Attributes:
        axes: Where positions and classes are in the outputs.
        regions: The region of every example.
    """

    axes: PositionAxes
    regions: ExplainedRegions

    @cached_property
    def places(self) -> Tensor:
        """``(N, P)`` long: a lattice of positions (in volumes, of the drawn slice), or slots of a text's tokens."""
        labels = self.regions.labels
        if labels.carrier is not None:
            known = labels.known()
            return slots(known, max(1, min(FINEST, int(known.sum(1).max()))))
        drawn = math.prod(labels.wide[-2:])
        starts = [self.regions.slice_number(example) * drawn for example in range(len(labels))]
        return lattice_of(labels.wide[-2:]).flatten() + torch.tensor(starts).unsqueeze(1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the lattice of :attr:`places`: ``(H', W')``, or ``(P,)``."""
        labels = self.regions.labels
        return (self.places.shape[1],) if labels.carrier is not None else tuple(lattice_of(labels.wide[-2:]).shape)

    def region_evaluator(self, evaluator: Evaluator) -> Evaluator:
        """Return an evaluator of the regions' outputs."""
        return replace(evaluator, reader=RegionReader(self.axes, self.regions, evaluator.reader), head=evaluator.head)

    def group_evaluator(self, evaluator: Evaluator, groups: Tensor) -> Evaluator:
        """Return an evaluator of the outputs of the regions of all members of a row's group.

        Args:
            evaluator: One of :meth:`region_evaluator`, or of :meth:`featured_evaluator`.
            groups: ``(G, g)`` examples; an example of no group is read in its own region, g times.
        """
        members = torch.arange(len(self.regions.labels)).unsqueeze(1).repeat(1, groups.shape[1])
        members[groups] = groups.unsqueeze(1)
        reader = evaluator.reader
        if isinstance(reader, FeaturedReader):
            both = (GroupRegionsReader(one, members) for one in (reader.features, reader.outputs))
            return replace(evaluator, reader=FeaturedReader(*both))
        return replace(evaluator, reader=GroupRegionsReader(reader, members))

    def featured_evaluator(self, evaluator: Evaluator, layer: str) -> Evaluator:
        """Return an evaluator of the features and the outputs of the regions, ``(R, F + C)``.

        Args:
            evaluator: One of :meth:`region_evaluator`.
            layer: Name of the submodule whose input is taken for the features.
        """
        count = len(self.regions.labels.lattice)
        features = RegionReader(feature_axes(evaluator.module, layer, self.axes, count), self.regions, ROW_READER)
        predict = with_feature_maps(evaluator.predict, layer, self.axes)
        return replace(evaluator, predict=predict, reader=FeaturedReader(features, evaluator.reader))

    def lattice_evaluator(self, evaluator: Evaluator) -> Evaluator:
        """Return an evaluator of the outputs at :attr:`places`, from one of :meth:`region_evaluator`."""
        before = evaluator.reader
        plain = replace(evaluator, reader=before.outputs) if isinstance(before, RegionReader) else evaluator
        return read_by(plain, SampleReader(self.axes, self.places, self.regions.labels.carrier or 0))


def lattice_of(lattice: tuple[int, ...]) -> Tensor:
    """Return the numbers of positions at equal distances, up to :data:`FINEST` along each axis, in their shape."""
    numbers = torch.arange(math.prod(lattice)).view(lattice)
    for axis, size in enumerate(lattice):
        numbers = numbers.index_select(axis, even_places(size, FINEST))
    return numbers
