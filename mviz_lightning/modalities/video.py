"""Video: patches in blocks of time."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.image import CHANNEL_COUNTS, Image, grid
from mviz_lightning.modalities.segmentation import blocks, runs
from mviz_lightning.modalities.tiles import extent, sheet
from mviz_lightning.modalities.typical_values import fill
from mviz_lightning.plotting.text_fitting import text_capacity, text_colour_on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILES_PER_ROW = 2
"""Number of frames side by side in a panel."""

MIN_CHARACTERS_FOR_TIME = 12
"""Smallest number of characters across a frame with its time; smaller frames show no time."""


class Video(Image):
    """Videos ``(N, T, C, H, W)``, ``(N, C, T, H, W)`` or ``(N, T, H, W, C)``.

    If two axes may be the time axis, give ``Modality(time_axis=...)``. A segment is a patch in a block of time. Figures
    show the middle frame of every block, in reading order, and segments have its time in their names. Padded frames
    belong to no segment.
    """

    name = "video"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf is a tensor with five axes."""
        return isinstance(values, Tensor) and values.dim() == 5 and values.dtype != torch.bool

    def cut(self) -> Segments:
        """Divide every block of time into a grid of patches."""
        self._check()
        length, height, width = (self._frames.shape[axis] for axis in (1, 3, 4))
        real = self.real_entries(self._time)
        self._block = runs((torch.ones(1, length) if real is None else real).long() * 2 - 1, self._shape[0])
        _, rows, columns = self._shape
        self._patch = blocks(height, rows)[:, None] * columns + blocks(width, columns)
        block = self._block[:, :, None, None]
        index = (block * rows * columns + self._patch).where(block >= 0, -1).unsqueeze(2)
        counted = None if real is None else self._as_leaf(real[:, :, None, None, None])
        return Segments(self.path, self._as_leaf(index), fill(self, self.values, [0, self._time], counted))

    def _check(self) -> None:
        values, modality = self.values, self.modality
        if not isinstance(values, Tensor) or values.dim() != 5 or not values.numel():
            raise ConfigurationError(
                f"kind='video' of {self.path!r}: expected (N, T, C, H, W), (N, C, T, H, W) or (N, T, H, W, C); found "
                f"{tuple(getattr(values, 'shape', ())) or type(values).__name__}."
            )
        if modality.time_axis not in (None, 1, 2, -4, -3):
            raise ConfigurationError(f"time_axis={modality.time_axis} of {self.path!r}: give 1 or 2.")
        if modality.superpixels:
            raise ConfigurationError(
                f"superpixels=True of {self.path!r}: the segments of a video are patches; drop superpixels."
            )

    @cached_property
    def _time(self) -> int:
        """The time axis of the leaf: 1 or 2."""
        if self.modality.time_axis is not None:
            return self.modality.time_axis % 5
        return 2 if self._channel_axis == 1 else 1

    @cached_property
    def _channel_axis(self) -> int:
        """The channel axis of the leaf: the first of the axes 2, 1 and 4 with 1, 3 or 4 entries."""
        given = self.modality.time_axis
        places = [axis for axis in (2, 1, 4) if given is None or axis != given % 5]
        return next((axis for axis in places if self.values.shape[axis] in CHANNEL_COUNTS), places[0])

    @cached_property
    def _frames(self) -> Tensor:
        """All frames, ``(N, T, C, H, W)``."""
        frames: Tensor = self.values.movedim((self._time, self._channel_axis), (1, 2))
        return frames

    def _as_leaf(self, frames: Tensor) -> Tensor:
        """Return ``(n, t, c, h, w)`` in the order of the leaf's axes."""
        return frames.movedim((1, 2), (self._time, self._channel_axis))

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        """Numbers of blocks of time, rows and columns of patches, close to the cube root of ``max_segments``."""
        length, height, width = (self._frames.shape[axis] for axis in (1, 3, 4))
        times = max(1, min(length, round(self.modality.max_segments ** (1 / 3))))
        return times, *grid(height, width, self.modality.max_segments // times)

    def _steps(self, example: int) -> list[Tensor]:
        """Return the frames of every block of an example."""
        block = self._block[example if len(self._block) > 1 else 0]
        return [(block == number).nonzero()[:, 0] for number in range(int(block.max()) + 1)]

    @property
    def baseline(self) -> str:
        """The baseline of masked patches, in words."""
        return "the mean picture" if self.modality.baseline in (None, "mean") else super().baseline

    def pixels(self, example: int) -> npt.NDArray[np.uint8]:
        """Return the middle frame of every block side by side, ``(h, w, 3)`` in 0..255, with one contrast for all."""
        middles = [int(steps[len(steps) // 2]) for steps in self._steps(example)]
        wide = self._as_pixels(torch.cat(self._frames[example, middles].unbind(), 2)) if middles else None
        tiles = [] if wide is None else np.split(wide, len(middles), 1)
        return _laid_out(tiles, np.uint8(255), (*self._patch.shape, 3), self._shape[0])

    @property
    def frames(self) -> int:
        """Number of frames of a video, padding included."""
        return int(self._frames.shape[1])

    def draw_frame(self, axes: "Axes", example: int, step: int) -> None:
        """Draw one frame of a video."""
        axes.imshow(self._as_pixels(self._frames[example, step]), interpolation="nearest")

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw the middle frame of every block, with its time if it fits."""
        super().draw(axes, example)
        if text_capacity(axes)[0] < min(TILES_PER_ROW, self._shape[0]) * MIN_CHARACTERS_FOR_TIME:
            return
        (height, width), sheet = self._patch.shape, self.pixels(example) / 255
        for time, (top, left) in zip(
            self._frame_times(example), _corners(self._patch.shape, self._shape[0]), strict=False
        ):
            behind = sheet[top + height * 4 // 5 : top + height, left : left + width // 2].mean((0, 1))
            write(axes, left + 0.03 * width, top + 0.97 * height, time, va="bottom", color=text_colour_on(behind))

    def _frame_times(self, example: int) -> list[str]:
        """Return the time of the middle frame of every block, in seconds if ``Modality(rate=...)`` is given."""
        steps, rate = [int(steps[len(steps) // 2]) for steps in self._steps(example)], self.modality.rate
        return [f"step {step + 1}" if rate is None else f"{step / rate:.3g} s" for step in steps]

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the time (of the block's middle frame), row and column of every segment."""
        _, rows, columns = self._shape
        places = [f"row {row + 1}, col {column + 1}" for row in range(rows) for column in range(columns)]
        return [f"{time}, {place}" for time in self._frame_times(example) for place in places]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the frames side by side."""
        height, width = _laid_out([], 0, self._patch.shape, self._shape[0]).shape
        return float(height / width)

    def _index(self, example: int) -> npt.NDArray[Any]:
        """Return the segment of every pixel of the drawing; -1 between the frames."""
        patch = self._patch.numpy()
        segments = [patch + number * (patch.max() + 1) for number in range(len(self._steps(example)))]
        return _laid_out(segments, -1, patch.shape, self._shape[0])


def _laid_out(tiles: Sequence[Any], between: Any, shape: tuple[int, ...], count: int) -> npt.NDArray[Any]:
    """Arrange tiles in rows.

    Args:
        tiles: Up to ``count`` arrays ``(H, W, ...)``.
        between: Value between the tiles and at missing tiles, of the tiles' number type.
        shape: ``(H, W, ...)`` of a tile.
        count: Number of positions.
    """
    corners = list(_corners(shape, count))
    return sheet(tiles, corners, extent(corners, [(shape[0], shape[1])] * count), np.full(shape[2:], between))


def _corners(shape: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yield the top left corner of ``count`` tiles in reading order, in pixels."""
    gap = max(1, shape[1] // 24)
    for place in range(count):
        row, column = divmod(place, TILES_PER_ROW)
        yield row * (shape[0] + gap), column * (shape[1] + gap)
