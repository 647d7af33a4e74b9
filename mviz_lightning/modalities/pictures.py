"""Several pictures an example, as texts with placeholders have them: segments are cells of the grid of each."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import found_in
from mviz_lightning.modalities.image import CHANNEL_COUNTS, Image, grid
from mviz_lightning.modalities.placed_items import PICTURES, without_tiles
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.tiles import extent, sheet, shelves
from mviz_lightning.modalities.typical_values import fill


class Pictures(Image):
    """Up to K pictures an example, ``(N, K, C, H, W)`` or ``(N, K, H, W, C)``; in one tile each, ``(N, K, 1, ...)``.

    A segment is a cell of the grid of one picture. Figures show the pictures side by side. Padding where an example
    has fewer pictures belongs to no segment.
    """

    name = "pictures"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return False: only a text with placeholders tells pictures from the frames of a video."""
        return False

    def cut(self) -> Segments:
        """Divide every picture into a grid of cells."""
        self._check()
        index = torch.full((len(self.values), *self._stack.shape[1:2], *self._stack.shape[3:]), -1)
        for example, placed in enumerate(index):
            placed[: self._counts[example]] = self._cells(example)
        cells = index.unsqueeze(2)
        colour = fill(self, self._stack, [0, 1, 3, 4], cells >= 0)
        return Segments(self.path, self._as_leaf(cells), self._as_leaf(colour))

    def _check(self) -> None:
        if not isinstance(self.values, Tensor) or without_tiles(self.values).dim() != PICTURES:
            raise ConfigurationError(
                f"kind='pictures' of {self.path!r}: expected (N, K, C, H, W) or (N, K, H, W, C); found "
                f"{found_in(self.values)}."
            )
        if self.modality.superpixels:
            raise ConfigurationError(f"superpixels=True of {self.path!r}: give kind='image', or drop superpixels.")

    @cached_property
    def _channel_axis(self) -> int:
        """The channel axis of pictures without tiles: 2 or 4."""
        shape = without_tiles(self.values).shape
        return 4 if shape[4] in CHANNEL_COUNTS and shape[2] not in CHANNEL_COUNTS else 2

    @cached_property
    def _stack(self) -> Tensor:
        """All pictures, ``(N, K, C, H, W)``."""
        return without_tiles(self.values).movedim(self._channel_axis, 2)

    def _as_leaf(self, stack: Tensor) -> Tensor:
        """Return ``(n, k, c, h, w)`` in the order of the leaf's axes."""
        found = stack.movedim(2, self._channel_axis)
        return found.unsqueeze(2) if self.values.dim() > PICTURES else found

    @cached_property
    def _counts(self) -> list[int]:
        """Number of pictures of every example."""
        count = self.values.shape[1]
        return [count] * len(self.values) if self.own is None else self.own.flatten(2).any(2).sum(1).tolist()

    def _grid(self, example: int) -> tuple[int, int]:
        """Return rows and columns of the grid of every picture of an example."""
        height, width = self._stack.shape[3:]
        return grid(height, width, max(1, self.modality.max_segments // max(1, self._counts[example])))

    def _cells(self, example: int) -> Tensor:
        """Return the segment of every pixel of an example's pictures, ``(k, H, W)``."""
        (height, width), (rows, columns) = self._stack.shape[3:], self._grid(example)
        cells = blocks(height, rows)[:, None] * columns + blocks(width, columns)
        first = torch.arange(self._counts[example])[:, None, None] * rows * columns
        return (first + cells).clamp(max=self.modality.max_segments - 1)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the picture (where there are several), row and column of every cell, from 1 on."""
        (rows, columns), count = self._grid(example), self._counts[example]
        pictures = [f"picture {number + 1}, " if count > 1 else "" for number in range(count)]
        places = [f"row {row + 1}, col {column + 1}" for row in range(rows) for column in range(columns)]
        return [picture + place for picture in pictures for place in places][: self.modality.max_segments]

    def pixels(self, example: int) -> npt.NDArray[np.uint8]:
        """Return the pictures of an example side by side, ``(h, w, 3)`` in 0..255, with one contrast for all."""
        count = self._counts[example]
        if not count:
            return np.full((1, 1, 3), 255, np.uint8)
        wide = self._as_pixels(torch.cat(self._stack[example, :count].unbind(), 2))
        return self._on_sheet(np.split(wide, count, 1), np.full(3, 255, np.uint8))

    def _index(self, example: int) -> npt.NDArray[Any]:
        """Return the segment of every pixel of the drawing; -1 between the pictures."""
        if not self._counts[example]:
            return np.full((1, 1), -1)
        return self._on_sheet(list(self._cells(example).numpy()), -1)

    def _on_sheet(self, tiles: list[npt.NDArray[Any]], between: Any) -> npt.NDArray[Any]:
        shapes = [(len(tile), tile.shape[1]) for tile in tiles]
        corners = shelves(shapes)
        return sheet(tiles, corners, extent(corners, shapes), between)

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the pictures side by side."""
        height, width = self._index(example).shape
        return float(height / width)
