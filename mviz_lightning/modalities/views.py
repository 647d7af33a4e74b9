"""Stored inputs on which weights are drawn later: small pictures, and the segment of each pixel."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

LONGEST = 224
"""Largest height and width of a stored picture, in pixels: the input size of most image models."""

LOSSLESS = 64
"""Largest height and width of losslessly stored pictures, in pixels: lossy icons look worse and save little."""

QUALITY = 75
"""WebP quality of larger pictures, 0 to 100: a photograph of 224 x 224 pixels takes 7 to 9 KB."""

MOST_POINTS = 200
"""Largest number of points of a stored curve; a small panel has fewer pixels."""


def kept_size(height: float, width: float) -> tuple[int, int]:
    """Return the size at which a picture is stored: its own, or with a longest side of 224 pixels."""
    scale = min(1.0, LONGEST / max(height, width, 1))
    return max(1, round(height * scale)), max(1, round(width * scale))


def picture_view(index: npt.NDArray[Any], pixels: npt.NDArray[np.uint8] | None) -> dict[str, Any]:
    """Return the view of a picture: its size, its segments, and the picture itself.

    Args:
        index: ``(H, W)`` the segment of every pixel; -1 for pixels without a segment.
        pixels: ``(H, W, 3)`` in 0..255; None if inputs may not be shown.
    """
    size = kept_size(*index.shape)
    shown = {} if pixels is None else {"webp": webp(pixels, size)}
    return {"view": "picture", "size": list(size), **segments_of(index, size), **shown}


def segments_of(index: npt.NDArray[Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return the segment of every pixel of a stored picture: the rows and columns of a grid, or runs of equal segments.

    Cell (r, c) of a grid has the number ``r * columns + c`` and the pixels with ``y * rows // H == r`` and
    ``x * columns // W == c``.

    Args:
        index: ``(H, W)`` the segment of every pixel of the whole picture.
        size: Height and width of the stored picture.
    """
    rows, columns = (len(np.unique(line)) for line in (index[:, :1], index[:1]))
    if index.size and np.array_equal(index, grid_index(len(index), index.shape[1], rows, columns)):
        return {"grid": [rows, columns]}
    return {"index": run_lengths(resampled(index, size))}


def grid_index(height: int, width: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Return the ``(H, W)`` cells of a grid."""
    y, x = np.arange(height) * rows // max(height, 1), np.arange(width) * columns // max(width, 1)
    return y[:, None] * columns + x


def resampled(index: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a ``(H, W)`` index resampled to a smaller size by nearest neighbours."""
    if index.shape == size:
        return index
    y, x = (((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(index.shape, size, strict=True))
    sampled: npt.NDArray[Any] = index[y[:, None], x]
    return sampled


def run_lengths(index: npt.NDArray[Any]) -> list[list[int]]:
    """Return the runs of equal entries, row by row: ``[[entry, length], ...]``.

    Example:
        >>> run_lengths(np.array([[0, 0, 1], [1, -1, -1]]))
        [[0, 2], [1, 2], [-1, 2]]
    """
    flat = index.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] - 1))
    lengths = np.diff(starts, append=flat.size)
    return [[int(entry), int(length)] for entry, length in zip(flat[starts], lengths, strict=True)]


def webp(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> str:
    """Return a picture as WebP in base64.

    Args:
        pixels: ``(H, W, 3)`` in 0..255.
        size: Height and width of the stored picture.
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BOX)
    buffer = BytesIO()
    picture.save(buffer, "WEBP", lossless=max(size) <= LOSSLESS, quality=QUALITY, method=2)
    return base64.b64encode(buffer.getvalue()).decode()


def curve(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a curve of up to 200 points; for a longer curve, minimum and maximum of each of 100 pieces.

    Args:
        values: ``(T,)`` numbers.
    """
    if len(values) <= MOST_POINTS:
        return values
    pieces = np.array_split(values, MOST_POINTS // 2)
    ends: npt.NDArray[Any] = np.array([[piece.min(), piece.max()] for piece in pieces]).ravel()
    return ends


def means(rows: npt.NDArray[Any], groups: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the means of groups of rows, ``(G, T)``.

    Args:
        rows: ``(D, T)`` numbers.
        groups: ``(D,)`` the group of each row, from 0, none of them empty.
    """
    found: npt.NDArray[Any] = np.array([rows[groups == group].mean(0) for group in range(groups.max(initial=-1) + 1)])
    return found
