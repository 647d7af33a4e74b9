"""Several pictures on one sheet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BEST_ASPECT = 0.75
"""Preferred height over width of a sheet, close to that of a panel."""


def shelves(shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the top left corner of every tile: in rows from the left, with the row length that fits a panel best.

    Args:
        shapes: Height and width of every tile.
    """
    gap = max(1, max(width for _, width in shapes) // 24)
    sheets = [_in_rows_of(across, shapes, gap) for across in range(1, len(shapes) + 1)]
    return min(sheets, key=lambda corners: abs(np.log(_aspect(corners, shapes) / BEST_ASPECT)))


def _in_rows_of(across: int, shapes: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    corners, top = [], 0
    for first in range(0, len(shapes), across):
        row, left = shapes[first : first + across], 0
        for _, width in row:
            corners.append((top, left))
            left += width + gap
        top += max(height for height, _ in row) + gap
    return corners


def _aspect(corners: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, int]]) -> float:
    height, width = extent(corners, shapes)
    return height / width


def extent(corners: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return height and width of the sheet with all tiles."""
    ends = [(top + height, left + width) for (top, left), (height, width) in zip(corners, shapes, strict=True)]
    return max(bottom for bottom, _ in ends), max(right for _, right in ends)


def sheet(
    tiles: Sequence[Any], corners: Sequence[tuple[int, int]], size: tuple[int, int], between: Any
) -> npt.NDArray[Any]:
    """Return tiles side by side.

    Args:
        tiles: Up to as many arrays ``(h, w, ...)`` as there are corners.
        corners: Top and left of every tile.
        size: Height and width of the sheet.
        between: ``(...)`` values between the tiles and at missing tiles, of the tiles' number type.
    """
    found = np.full((*size, *np.shape(between)), between)
    for tile, (top, left) in zip(tiles, corners, strict=False):
        found[top : top + len(tile), left : left + tile.shape[1]] = tile
    return found
