"""Outputs that have one vector for each position of an example: maps ``(B, C, H, W)`` and sequences ``(B, T, C)``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch.rows import plain_tensors
from mviz_lightning.engine.model_outputs import locate_scores, require_a_row_each
from mviz_lightning.engine.query import Query

TRIED_POSITIONS = 64
"""Largest number of positions on which outputs are tried and compared: whole maps of 16 rows take too much memory."""

MAP = 4
"""Smallest number of axes of scores that form a map: batch, classes, height, width."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class PositionAxes:
    """Where the positions and the classes lie in outputs.

    Attributes:
        classes: Axis of the classes in ``(B, ...)`` outputs; None where a position has one output. All other axes but
            the first are axes of positions.
    """

    classes: int | None

    def outputs(self, shape: tuple[int, ...]) -> int:
        """Return the number of outputs of one position, C, in outputs of this shape."""
        return 1 if self.classes is None else shape[self.classes]

    def lattice(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the axes of positions in outputs of this shape: ``(H, W)`` or ``(T,)``."""
        return tuple(size for axis, size in enumerate(shape) if axis not in (0, self.classes))

    def last(self, outputs: Tensor) -> Tensor:
        """Return a view ``(B, ..., C)`` of outputs, the classes last."""
        return outputs.unsqueeze(-1) if self.classes is None else outputs.movedim(self.classes, -1)

    def take(self, outputs: Tensor, places: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return ``(R, P, C)``: the outputs at some positions of every row; nothing else is copied.

        Args:
            outputs: ``(B, ...)``.
            places: ``(R, P)`` long: numbers of positions, row by row of the lattice.
            rows: ``(R,)`` long: rows of the outputs; by default all.
        """
        found = self.last(outputs)
        wanted = torch.arange(len(found)) if rows is None else rows
        index = torch.unravel_index(places.to(found.device), found.shape[1:-1])
        at: tuple[Tensor, ...] = (wanted.to(found.device).unsqueeze(1), *index)
        return found[at]

    def whole(self, outputs: Tensor) -> Tensor:
        """Return ``(R, L, C)``: the outputs at all positions."""
        return self.last(outputs).flatten(1, -2)


def resized(places: Tensor, lattice: tuple[int, ...], other: tuple[int, ...]) -> Tensor:
    """Convert position numbers ``(K,)`` of one lattice to those of a finer or coarser lattice of the same picture.

    If both lattices have equally many positions, the numbers stay the same, whatever the axes.
    """
    if math.prod(lattice) == math.prod(other):
        return places
    found = torch.zeros_like(places)
    for at, size, wanted in zip(torch.unravel_index(places, lattice), lattice, other, strict=True):
        found = found * wanted + at * wanted // size
    return found


@dataclass(frozen=True)
class LabelShapes:
    """Shapes that show where outputs have positions, for a call whose loss is not observed.

    Attributes:
        labels: Shape of the labels that the user named; None without any.
        images: Shapes of the leaves that a map may belong to.
        masks: Shapes of the masks of padding.
    """

    labels: Shape | None = None
    images: Sequence[Shape] = ()
    masks: Sequence[Shape] = ()

    def axes(self, outputs: Shape) -> PositionAxes | None:
        """Return where positions and classes are in outputs; None where the labels have no entry for each position."""
        labels, usual = self.labels, 1 if len(outputs) >= MAP else 2
        if labels is None or len(outputs) < 2 or labels[:1] != outputs[:1]:
            return None
        if len(outputs) == 2:
            return PositionAxes(None) if outputs == labels and outputs in self.masks else None
        axes = sorted(range(1, len(outputs)), key=lambda axis: axis != usual)
        lacking = [axis for axis in axes if outputs[:axis] + outputs[axis + 1 :] == _without_channel(labels, outputs)]
        if lacking:
            return PositionAxes(lacking[0])
        mapped = len(outputs) < MAP and any(len(one) >= MAP and one[-2:] == outputs[1:] for one in self.images)
        return PositionAxes(None if mapped else usual) if outputs == labels else None


NO_LABELS = LabelShapes()
"""The shapes where the user named no labels."""


def _without_channel(labels: Shape, outputs: Shape) -> Shape:
    """Return the shape of labels ``(B, 1, H, W)`` as ``(B, H, W)``."""
    return labels[:1] + labels[2:] if len(labels) == len(outputs) and labels[1] == 1 else labels


def map_of(outputs: Any, rows: int) -> Tensor:
    """Return the scores of any shape in what a model returned for some rows.

    Raises:
        ConfigurationError: They have no entry for each row.
    """
    found: Tensor = plain_tensors(locate_scores(outputs)[1])
    require_a_row_each(found, rows)
    return found


def even_places(count: int, most: int) -> Tensor:
    """Return the numbers of up to ``most`` equally spaced positions among ``count``."""
    number = max(1, min(count, most))
    return ((torch.arange(number) + 0.5) * count / number).long()


@dataclass(frozen=True)
class EvenReader:
    """Reads outputs at equally spaced positions. It needs no labels, so it works for any examples.

    Attributes:
        axes: Where positions and classes are.
        most: Largest number of positions.
    """

    axes: PositionAxes
    most: int = TRIED_POSITIONS

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, P * C)``, position by position."""
        return self.of(map_of(outputs, len(rows))).flatten(1)

    def of(self, outputs: Tensor) -> Tensor:
        """Return ``(R, P, C)`` of scores ``(R, ...)``."""
        places = even_places(math.prod(self.axes.lattice(tuple(outputs.shape))), self.most)
        return self.axes.take(outputs, places.expand(len(outputs), -1))


@dataclass(frozen=True)
class SampleReader:
    """Reads outputs at sampled positions.

    Attributes:
        axes: Where positions and classes are.
        places: ``(N, P)`` long: for each example, the positions at which rows that read it are read.
        carrier: Column of the modality whose example a row reads by default.
    """

    axes: PositionAxes
    places: Tensor
    carrier: int = 0

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, P * C)``, position by position."""
        found = map_of(outputs, len(rows))
        return self.axes.take(found, self.places[examples_read(rows, self.carrier)]).flatten(1)


@dataclass(frozen=True)
class WholeReader:
    """Reads outputs at all positions, ``(R, L * C)``, position by position.

    Attributes:
        axes: Where positions and classes are.
    """

    axes: PositionAxes

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, L * C)``."""
        return self.axes.whole(map_of(outputs, len(rows))).flatten(1)


def examples_read(rows: Query, carrier: int) -> Tensor:
    """Return ``(R,)``: the example whose positions each row reads."""
    own = rows.sources[:, carrier]
    return own if rows.read is None else rows.read.where(rows.read >= 0, own)
