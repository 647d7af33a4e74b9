"""Pictures as rows of patches, with a companion leaf for their grid: segments are cells of the grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.companions import found_in, patch_totals
from mviz_lightning.modalities.image import CHANNEL_COUNTS, Image
from mviz_lightning.modalities.patch_pixels import PatchFormat, patch_format
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.tiles import extent, sheet, shelves
from mviz_lightning.modalities.typical_values import fill

READ_PICTURES = 32
"""Number of pictures from which the format of patches is recognised."""

WHITE = np.full(3, 255, np.uint8)


@dataclass(frozen=True)
class PatchGrid:
    """The patches of one picture among the rows of an example.

    Attributes:
        first: Row of the first patch.
        shape: Frames, rows and columns of patches.
        cells: Frames, rows and columns of cells; every cell is a segment.
        segment: Segment of the first cell.
        merge: Number of patches along a side of a unit; cells consist of whole units.
    """

    first: int
    shape: tuple[int, ...]
    cells: tuple[int, ...]
    segment: int
    merge: int = 1

    @property
    def rows(self) -> slice:
        """The rows of the example that contain the patches of this picture."""
        return slice(self.first, self.first + math.prod(self.shape))

    @property
    def segments(self) -> Tensor:
        """``(t, h, w)`` the segment of every patch."""
        (times, height, width), m = self.shape, self.merge
        frame, row, column = map(blocks, (times, height // m, width // m), self.cells)
        row, column = row.repeat_interleave(m), column.repeat_interleave(m)
        return self.segment + (frame[:, None, None] * self.cells[1] + row[:, None]) * self.cells[2] + column

    @property
    def shown(self) -> list[int]:
        """The frames in figures: the middle frame of every block of frames."""
        block = blocks(self.shape[0], self.cells[0])
        steps = [(block == number).nonzero()[:, 0].tolist() for number in range(self.cells[0])]
        return [own[len(own) // 2] for own in steps]

    def names(self) -> list[str]:
        """Return the frame (if there are several), row and column of every cell, from 1."""
        frames = [f"frame {frame + 1}, " if self.cells[0] > 1 else "" for frame in self.shown]
        places = [f"row {row + 1}, col {column + 1}" for row in range(self.cells[1]) for column in range(self.cells[2])]
        return [frame + place for frame in frames for place in places]


class Patches(Image):
    """Patches of pictures ``(N, L, D)``, with a grid ``(N, 2 or 3)`` or ``(N, K, 2 or 3)``.

    The grid contains the numbers of rows and columns of patches (before them of frames) for each picture of an example.
    A segment is a cell of a coarser grid. If the D numbers of a patch are pixels, figures show the picture; otherwise
    they show the mean of every patch. Several pictures are side by side. For many frames, figures show the middle frame
    of every block of frames.
    """

    name = "patches"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return False: patches look like a series; only a grid distinguishes them."""
        return False

    def cut(self) -> Segments:
        """Divide every picture into cells; all pictures of an example have cells of the same size."""
        self._check()
        index = torch.full(self.values.shape[:2], -1)
        for example, placed in enumerate(index):
            rows = self._rows(example)
            for one in self._grids[example]:
                placed[rows[one.rows]] = self._format.in_rows(one.segments).clamp(max=self.modality.max_segments - 1)
        return Segments(self.path, index.unsqueeze(2), fill(self, self.values, [0, 1], self._real_rows.unsqueeze(2)))

    def _check(self) -> None:
        values, grid = self.values, self.leaves.get(self.modality.grid or "")
        if not isinstance(values, Tensor) or values.dim() != 3:
            raise ConfigurationError(f"kind='patches' of {self.path!r}: expected (N, L, D); found {found_in(values)}.")
        if self.modality.superpixels:
            raise ConfigurationError(
                f"superpixels=True of {self.path!r}: not supported for kind='patches'; remove superpixels=True."
            )
        if not isinstance(grid, Tensor) or grid.dim() not in (2, 3) or grid.shape[-1] not in (2, 3):
            raise ConfigurationError(
                f"grid={self.modality.grid!r} of {self.path!r}: expected (N, 2 or 3) or (N, K, 2 or 3), the frames, "
                f"rows and columns of patches of every picture; found {found_in(grid)}. Give their leaf: "
                f"Modality({self.path!r}, grid='image_grid_thw')."
            )
        if bool((grid[..., -2:] % (self.modality.merge or 1) != 0).any()):
            raise ConfigurationError(
                f"merge={self.modality.merge} of {self.path!r}: it must divide all rows and columns in "
                f"{self.modality.grid!r}; remove merge= to compute it from the texts."
            )
        self._check_totals(patch_totals(grid), self._real_rows.sum(1))

    def _check_totals(self, told: Tensor, rows: Tensor) -> None:
        if bool((told != rows).any()):
            example = int((told != rows).nonzero()[0])
            raise ConfigurationError(
                f"grid={self.modality.grid!r} of {self.path!r}: its products add up to {int(told[example])} patches in "
                f"example {example}, which has {int(rows[example])} rows. Give the grid of these rows, or remove grid= "
                f"and give Modality({self.path!r}, kind='series')."
            )

    @cached_property
    def _real_rows(self) -> Tensor:
        """``(N, L)`` False at padding."""
        real = self.real_entries()
        return torch.ones(self.values.shape[:2], dtype=torch.bool) if real is None else real

    def _rows(self, example: int) -> Tensor:
        """Return the positions of an example's patches in the leaf."""
        return self._real_rows[example].nonzero()[:, 0]

    @cached_property
    def _grids(self) -> list[list[PatchGrid]]:
        """The pictures of every example."""
        leaf = self.leaves[self.modality.grid]  # type: ignore[index]
        return [self._pictures(row.reshape(-1, leaf.shape[-1]).tolist()) for row in leaf.long()]

    def _pictures(self, sizes: Sequence[Sequence[int]]) -> list[PatchGrid]:
        """Return the pictures of an example, each with its part of the rows and of the segments."""
        shapes = [(1, *size)[-3:] for size in sizes if math.prod(size)]
        found: list[PatchGrid] = []
        m = self.modality.merge or 1
        tokens = [(times, height // m, width // m) for times, height, width in shapes]
        for shape, cells in zip(shapes, _cells(tokens, self.modality.max_segments), strict=True):
            first = found[-1].rows.stop if found else 0
            found.append(PatchGrid(first, shape, cells, sum(math.prod(one.cells) for one in found), m))
        return found

    @cached_property
    def _format(self) -> PatchFormat:
        """The format of the patches, recognised from the first pictures."""
        every = ((example, one) for example, grids in enumerate(self._grids) for one in grids)
        some = [(self._patches_of(*place), place[1].shape) for place in islice(every, READ_PICTURES)]
        found = patch_format(some) if some else PatchFormat(self.values.shape[2])
        return replace(found, merge=self.modality.merge or found.merge)

    def _patches_of(self, example: int, one: PatchGrid) -> Tensor:
        """Return the patches of one picture, ``(t * h * w, D)``."""
        patches: Tensor = self.values[example, self._rows(example)[one.rows]]
        return patches

    def pixels(self, example: int) -> npt.NDArray[np.uint8]:
        """Return the pictures of an example side by side, ``(h, w, 3)`` in 0..255, with one contrast for all."""
        frames = [
            frame
            for one in self._grids[example]
            for frame in self._format.picture(self._patches_of(example, one), one.shape)[one.shown]
        ]
        shown = self._as_pixels_together(frames)
        return self._on_sheet(example, shown, WHITE) if shown else np.full((1, 1, 3), 255, np.uint8)

    def _denormalised(self, image: Tensor) -> Tensor:
        """Return pixels in 0..1; for numbers that are not pixels, the mean of each patch, rescaled to 0..1."""
        if self._format.side > 1 or self._format.channels in CHANNEL_COUNTS:
            return super()._denormalised(image)
        mean = image.mean(0, keepdim=True)
        return (mean - mean.min()) / (mean.max() - mean.min()).clamp(min=1e-12)

    def _on_sheet(self, example: int, tiles: Sequence[Any], between: Any) -> npt.NDArray[Any]:
        """Return tiles for the shown frames of all pictures, such as pixels or segments, side by side."""
        side = self._format.side
        shapes = [(one.shape[1] * side, one.shape[2] * side) for one in self._grids[example] for _ in one.shown]
        corners = shelves(shapes)
        return sheet(tiles, corners, extent(corners, shapes), between)

    def _index(self, example: int) -> npt.NDArray[Any]:
        """Return the segment of every pixel of the drawing; -1 between the pictures."""
        side, last = self._format.side, self.modality.max_segments - 1
        tiles = [frame for one in self._grids[example] for frame in one.segments[one.shown].clamp(max=last)]
        large = [tile.repeat_interleave(side, 0).repeat_interleave(side, 1).numpy() for tile in tiles]
        return self._on_sheet(example, large, -1) if large else np.full((1, 1), -1)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the picture (if there are several), frame, row and column of every cell, from 1."""
        grids = self._grids[example]
        numbers = [f"picture {number + 1}, " if len(grids) > 1 else "" for number in range(len(grids))]
        found = [number + name for number, one in zip(numbers, grids, strict=True) for name in one.names()]
        return found[: self.modality.max_segments]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the pictures side by side."""
        height, width = self._index(example).shape
        return float(height / width)


def _cells(shapes: Sequence[tuple[int, ...]], most: int) -> list[tuple[int, ...]]:
    """Return frames, rows and columns of cells of every picture: the smallest equal cells that ``most`` allows.

    With more than ``most`` pictures, each is one cell.
    """
    for side in range(1, max((max(shape) for shape in shapes), default=0) + 1):
        cells = [tuple(-(-size // side) for size in shape) for shape in shapes]
        if sum(map(math.prod, cells)) <= most:
            return cells
    return [(1, 1, 1) for _ in shapes]
