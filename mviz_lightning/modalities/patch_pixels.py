"""The meaning of a patch's numbers and the order of patches, recognised from the patches of pictures."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

FRAMES = (1, 2)
"""Numbers of frames in one patch; video models have 2, and repeat a single picture."""

SMOOTH = 0.6
"""Largest mean difference of adjacent pixels at which numbers count as pixels, relative to random pairs of pixels.

Pictures have 0.1 to 0.5, features have 1.
"""

CLEARLY_SMOOTHER = 0.9
"""Largest ratio of the differences at patch borders, read in blocks to read in rows, at which the order is blocks."""

MOST_PATCHES = 4096
"""Largest number of patches that are compared; more do not change the result."""


@dataclass(frozen=True)
class PatchFormat:
    """The format of patches as rows of D numbers.

    Attributes:
        channels: Channels of a pixel.
        frames: Frames in one patch.
        side: Pixels along a side; 1 if the numbers are not pixels. Then each number is a channel.
        channels_last: Whether a patch is ``(side, side, channels)`` and not ``(channels, frames, side, side)``.
        merge: Patches are ordered in blocks of ``merge`` times ``merge`` patches (2 in Qwen2-VL).
    """

    channels: int
    frames: int = 1
    side: int = 1
    channels_last: bool = False
    merge: int = 1

    def placed(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the rows ``(n, ...)`` of one picture in its grid, ``(t, h, w, ...)``."""
        (times, height, width), m = shape, self.merge
        blocks = rows.reshape(times, height // m, width // m, m, m, *rows.shape[1:])
        return blocks.transpose(2, 3).reshape(*shape, *rows.shape[1:])

    def in_rows(self, places: Tensor) -> Tensor:
        """Return the entries of a grid ``(t, h, w)`` in the order of the rows, ``(n,)``."""
        (times, height, width), m = places.shape, self.merge
        return places.reshape(times, height // m, m, width // m, m).transpose(2, 3).flatten()

    def pixels(self, rows: Tensor) -> Tensor:
        """Return ``(..., channels, side, side)``: the pixels of patches ``(..., D)``; of several frames, the first."""
        if self.channels_last:
            return rows.reshape(*rows.shape[:-1], self.side, self.side, self.channels).movedim(-1, -3)
        return rows.reshape(*rows.shape[:-1], self.channels, self.frames, self.side, self.side).select(-3, 0)

    def picture(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the frames of one picture, ``(t, channels, h * side, w * side)``."""
        patches = self.pixels(self.placed(rows, shape)).permute(0, 3, 1, 4, 2, 5)  # t, channels, h, side, w, side
        return patches.flatten(4, 5).flatten(2, 3)


def patch_format(pictures: Sequence[tuple[Tensor, Sequence[int]]]) -> PatchFormat:
    """Return the format in which adjacent pixels are most similar, in each patch and across the borders of patches.

    Args:
        pictures: The rows ``(t * h * w, D)`` of some pictures, and their ``(t, h, w)``.
    """
    rows = torch.cat([found for found, _ in pictures])[:MOST_PATCHES].double().nan_to_num()
    best = min(_formats(rows.shape[1]), key=lambda one: _roughness(one.pixels(rows)), default=PatchFormat(0))
    shuffled = rows[:, torch.randperm(rows.shape[1], generator=torch.Generator().manual_seed(0))]
    anywhere = float((rows - shuffled).abs().mean())
    smooth = best.channels and _roughness(best.pixels(rows)) <= SMOOTH * anywhere
    found = best if smooth else PatchFormat(rows.shape[1])
    blocks = replace(found, merge=2)
    if any(height % 2 or width % 2 for _, (_, height, width) in pictures):
        return found
    return blocks if _at_borders(blocks, pictures) < CLEARLY_SMOOTHER * _at_borders(found, pictures) else found


def _formats(numbers: int) -> Iterator[PatchFormat]:
    """Yield the formats of square patches, with three channels or one, whose patches have this many numbers."""
    for channels in (3, 1):
        for frames in FRAMES:
            side = math.isqrt(numbers // (channels * frames))
            if side > 1 and channels * frames * side**2 == numbers:
                yield PatchFormat(channels, frames, side)
                if frames == 1 and channels > 1:
                    yield PatchFormat(channels, frames, side, channels_last=True)


def _roughness(pixels: Tensor) -> float:
    """Return the mean absolute difference of adjacent pixels in ``(..., h, w)``."""
    return float((pixels.diff(dim=-1).abs().mean() + pixels.diff(dim=-2).abs().mean()) / 2)


def _at_borders(found: PatchFormat, pictures: Sequence[tuple[Tensor, Sequence[int]]]) -> float:
    """Return the mean absolute difference of adjacent pixels of different patches; 0 if there are none."""
    side, steps = found.side, []
    for rows, shape in pictures:
        picture = found.picture(rows.double().nan_to_num(), shape)
        steps += [picture.diff(dim=axis).movedim(axis, 0)[side - 1 :: side].flatten() for axis in (-1, -2)]
    every = torch.cat(steps).abs()
    return float(every.mean()) if len(every) else 0.0
