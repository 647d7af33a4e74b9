"""Several pictures per example, as in texts with placeholders: segments are cells of each picture's grid."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.companions import found_in, last_name
from mviz_lightning.modalities.image import CHANNEL_COUNTS, Image, grid
from mviz_lightning.modalities.placed_items import PICTURES
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.tile_grids import FEWEST, TiledPicture, TileReader, reader_of
from mviz_lightning.modalities.tiles import extent, sheet, shelves
from mviz_lightning.modalities.typical_values import fill

READ = 8
"""Number of tiled pictures (or examples) that are checked for the position of the whole picture among its tiles."""

SIZES = "image_sizes"
"""Name that transformers gives to the leaf with the height and width of each picture before it was cut."""

NEARLY_ZERO = 1e-6
"""Value in place of a baseline of 0, because models drop tiles that are 0 everywhere."""


class Pictures(Image):
    """Up to K pictures per example, ``(N, K, C, H, W)`` or ``(N, K, H, W, C)``, or their tiles, ``(N, K, T, ...)``.

    Some models get a picture as tiles with its parts and one tile with the whole picture; pixels are compared to find
    them. A segment is a cell of the grid of one picture, and is masked in all tiles that show it. Figures show the
    pictures side by side. Padding (of tiles, and of examples with fewer pictures) belongs to no segment.
    """

    name = "pictures"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return False: pictures look like frames of a video; only a text with placeholders distinguishes them."""
        return False

    @property
    def companions(self) -> dict[str, Any]:
        """Path -> leaf for the further leaves without the sizes of the pictures, which are not content."""
        return {path: leaf for path, leaf in super().companions.items() if last_name(path) != SIZES}

    def cut(self) -> Segments:
        """Divide every picture into a grid of cells."""
        self._check()
        index = torch.full((len(self.values), *self._stack.shape[1:2], *self._stack.shape[3:]), -1, dtype=torch.int16)
        for example, placed in enumerate(index):
            for picture, cells in self._cells(example):
                self._place(picture, cells, placed)
        index = self._without_padding_pixels(index)
        return Segments(self.path, self._as_leaf(index.unsqueeze(2)), self._as_leaf(self._colour(index)))

    def _colour(self, index: Tensor) -> Tensor:
        """Return the baseline ``(1, 1, C or 1, 1, 1)`` of all pictures, each from its tile with the whole picture."""
        shown = [one.tiles[0] if one.whole is None else one.whole for found in self._pictures for one in found]
        examples = torch.arange(len(self.values)).repeat_interleave(torch.tensor(self.picture_counts))
        places = examples, torch.tensor(shown, dtype=torch.long)
        found = fill(self, self._stack[places].unsqueeze(1), [0, 1, 3, 4], index[places][:, None, None] >= 0)
        return found.where(found != 0, NEARLY_ZERO) if found.is_floating_point() else found

    def _without_padding_pixels(self, index: Tensor) -> Tensor:
        """Return segments ``(N, K, H, W)`` without pixels that are padding according to a mask."""
        real = self.mask
        if real is None or real[0].numel() != index[0].numel():
            return index
        return index.where(real.reshape(index.shape), -1)

    def _check(self) -> None:
        if not isinstance(self.values, Tensor) or self.values.dim() not in (PICTURES, PICTURES + 1):
            raise ConfigurationError(
                f"kind='pictures' of {self.path!r}: expected (N, K, C, H, W) or (N, K, H, W, C), or tiles (N, K, T, C, "
                f"H, W); found {found_in(self.values)}."
            )
        if self.modality.superpixels:
            raise ConfigurationError(f"superpixels=True of {self.path!r}: give kind='image', or drop superpixels.")

    @cached_property
    def _channel_axis(self) -> int:
        """The channel axis as a negative index: -3 or -1."""
        shape = self.values.shape
        return -1 if shape[-1] in CHANNEL_COUNTS and shape[-3] not in CHANNEL_COUNTS else -3

    @cached_property
    def _stack(self) -> Tensor:
        """All tiles, ``(N, K, C, H, W)``: the tiles of all pictures of an example, one after another."""
        tiles: Tensor = self.values.movedim(self._channel_axis, -3)
        return tiles.flatten(1, -4)

    def _as_leaf(self, stack: Tensor) -> Tensor:
        """Return ``(n, k, c, h, w)`` in the order of the leaf's axes."""
        found = stack.movedim(-3, self._channel_axis)
        if self.values.dim() == PICTURES:
            return found
        places = self.values.shape[1:3] if stack.shape[1] > 1 else (1, 1)
        return found.reshape(len(found), *places, *found.shape[2:])

    @cached_property
    def _tiles(self) -> int:
        """Size of the tile axis of each picture; 1 without such an axis."""
        return self.values.shape[2] if self.values.dim() > PICTURES else 1

    @cached_property
    def _pictures(self) -> list[list[TiledPicture]]:
        """The pictures of every example."""
        examples = range(len(self.values))
        every = (tiles for example in examples for _, tiles in self._parts(example) if len(tiles) >= FEWEST)
        reader = reader_of(list(islice(every, READ)))
        return [list(self._found(reader, example)) for example in examples]

    def _found(self, reader: TileReader, example: int) -> Iterator[TiledPicture]:
        """Yield the pictures of an example."""
        for number, (first, tiles) in enumerate(self._parts(example)):
            size = self._original_size(example, number)
            found = None if size is None else reader.one(tiles, first, size)
            yield from reader.several(tiles, first) if found is None else [found]

    def _parts(self, example: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of the first tile and ``(n, C, H, W)`` tiles without padding, along the tile axis if any."""
        count, tiles, step = self._counts[example], self._stack[example], self._tiles
        if step == 1 and count:
            yield 0, _without_padding(tiles[:count])
        for first in range(0, count * step if step > 1 else 0, step):
            yield first, _without_padding(tiles[first : first + step])

    @cached_property
    def _counts(self) -> list[int]:
        """Number of pictures of every example, or of their tiles if these have no axis."""
        count = self.values.shape[1]
        return [count] * len(self.values) if self.own is None else self.own.flatten(2).any(2).sum(1).tolist()

    def _original_size(self, example: int, number: int) -> tuple[int, int] | None:
        """Return height and width of a picture before it was cut; None if no leaf contains them."""
        sizes = [leaf for path, leaf in self.leaves.items() if last_name(path) == SIZES and isinstance(leaf, Tensor)]
        if not sizes or sizes[0].shape[-1] != 2 or sizes[0].dim() != 3:
            return None
        height, width = sizes[0][example, number].tolist()
        return (height, width) if height > 0 and width > 0 else None

    @property
    def picture_counts(self) -> list[int]:
        """Number of pictures of every example."""
        return [len(found) for found in self._pictures]

    def shown(self, example: int) -> list[Tensor]:
        """Return the pictures of an example, ``(C, h, w)`` each, joined from their tiles."""
        return [one.grid.joined(self._stack[example, list(one.tiles)]) for one in self._pictures[example]]

    def _grids(self, example: int) -> list[tuple[int, int]]:
        """Return rows and columns of the cells of each picture of an example."""
        most, (high, wide) = self.modality.max_segments // max(1, len(self._pictures[example])), self._stack.shape[3:]
        areas = [picture.grid.area(high, wide) for picture in self._pictures[example]]
        grids = [grid(rows.stop - rows.start, columns.stop - columns.start, max(1, most)) for rows, columns in areas]
        return [(min(rows, high), min(columns, wide)) for rows, columns in grids]

    def _cells(self, example: int) -> Iterator[tuple[TiledPicture, Tensor]]:
        """Yield each picture of an example with the segment of every pixel, in a tile that shows the whole picture."""
        (high, wide), grids = self._stack.shape[3:], self._grids(example)
        firsts = accumulate((rows * columns for rows, columns in grids), initial=0)
        for picture, (rows, columns), first in zip(self._pictures[example], grids, firsts, strict=False):
            cells = first + blocks(high, rows)[:, None] * columns + blocks(wide, columns)
            yield picture, cells.clamp(max=self.modality.max_segments - 1)

    def _place(self, picture: TiledPicture, cells: Tensor, placed: Tensor) -> None:
        """Write the segments of a picture into ``(K, H, W)``: of its tiles, and of the tile with the whole picture."""
        high, wide = cells.shape
        placed[list(picture.tiles)] = picture.grid.cut(self._enlarged(picture, cells), high, wide).to(placed.dtype)
        if picture.whole is not None:
            placed[picture.whole] = cells.to(placed.dtype)

    def _enlarged(self, picture: TiledPicture, cells: Tensor) -> Tensor:
        """Return the segment of every pixel of a picture, ``(h, w)``, from a tile that shows the whole picture."""
        rows, columns = picture.grid.area(*cells.shape)
        places = [
            ((torch.arange(part.stop - part.start) + 0.5) * own / (part.stop - part.start)).long()
            for part, own in zip((rows, columns), cells.shape, strict=True)
        ]
        return cells[places[0]][:, places[1]]

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the picture (if there are several), row and column of every cell, from 1."""
        grids = self._grids(example)
        pictures = [f"picture {number + 1}, " if len(grids) > 1 else "" for number in range(len(grids))]
        return [
            f"{picture}row {row + 1}, col {column + 1}"
            for picture, (rows, columns) in zip(pictures, grids, strict=True)
            for row in range(rows)
            for column in range(columns)
        ][: self.modality.max_segments]

    def pixels(self, example: int) -> npt.NDArray[np.uint8]:
        """Return the pictures of an example side by side, ``(h, w, 3)`` in 0..255, with one contrast for all."""
        shown = self._as_pixels_together(self.shown(example))
        return _on_sheet(shown, np.full(3, 255, np.uint8)) if shown else np.full((1, 1, 3), 255, np.uint8)

    def _index(self, example: int) -> npt.NDArray[Any]:
        """Return the segment of every pixel of the drawing; -1 between the pictures."""
        shown = [self._enlarged(*found).numpy() for found in self._cells(example)]
        return _on_sheet(shown, -1) if shown else np.full((1, 1), -1)

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the pictures side by side."""
        height, width = self._index(example).shape
        return float(height / width)


def _on_sheet(pictures: Sequence[npt.NDArray[Any]], between: Any) -> npt.NDArray[Any]:
    shapes = [(len(picture), picture.shape[1]) for picture in pictures]
    corners = shelves(shapes)
    return sheet(pictures, corners, extent(corners, shapes), between)


def _without_padding(tiles: Tensor) -> Tensor:
    """Return tiles ``(n, C, H, W)`` without the zero tiles at the end (padding of processors); at least one."""
    real = tiles.flatten(1).any(1)
    return tiles[: max(1, len(real) - int(real.flip(0).long().argmax()) if bool(real.any()) else 1)]
