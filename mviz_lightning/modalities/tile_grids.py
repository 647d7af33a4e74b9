"""Pictures that a processor cut into tiles, with one tile of the whole picture: recognise tiles and their grid."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

ALIKE = 0.1
"""Largest mean squared difference between a whole picture and its shrunk tiles, as a fraction of its variance. Tiles of
one picture have up to 0.02 (noise of single pixels, resampled twice), other tiles 0.8 or more.
"""

SAID_TO_BE_ALIKE = 0.5
"""The same limit if a leaf contains the size of one picture: tiles with padding have up to 0.3."""

COMPARED = 32
"""Largest height and width, in pixels, at which tiles are compared."""

FEWEST = 3
"""Smallest number of tiles recognised as one picture by their pixels alone: two similar tiles may be two pictures."""


@dataclass(frozen=True)
class TileGrid:
    """The grid in which tiles form a picture.

    Attributes:
        rows: Rows of tiles.
        columns: Columns of tiles.
        size: Height and width of a picture that is centred in the tiles between padding; only their ratio counts. None
            if the picture fills the tiles.
    """

    rows: int = 1
    columns: int = 1
    size: tuple[int, int] | None = None

    def area(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of pixels that show the picture, in the joined tiles of this height and width.

        The picture is as large as possible. Its shorter side is rounded up, and uneven padding is larger at the end
        (as in ``LlavaNextImageProcessor`` of transformers).
        """
        whole = height * self.rows, width * self.columns
        if self.size is None:
            return slice(0, whole[0]), slice(0, whole[1])
        scale = min(full / own for full, own in zip(whole, self.size, strict=True))
        fitted = [min(math.ceil(own * scale), full) for full, own in zip(whole, self.size, strict=True)]
        first = [(full - own) // 2 for full, own in zip(whole, fitted, strict=True)]
        return slice(first[0], first[0] + fitted[0]), slice(first[1], first[1] + fitted[1])

    def joined(self, tiles: Tensor) -> Tensor:
        """Return the picture, ``(C, h, w)``, from its tiles ``(rows * columns, C, H, W)``."""
        _, channels, height, width = tiles.shape
        placed = tiles.view(self.rows, self.columns, channels, height, width).permute(2, 0, 3, 1, 4)
        found: Tensor = placed.reshape(channels, self.rows * height, self.columns * width)
        rows, columns = self.area(height, width)
        return found[:, rows, columns]

    def cut(self, picture: Tensor, height: int, width: int) -> Tensor:
        """Return the tiles, ``(rows * columns, height, width)``, of a picture ``(h, w)``; -1 at padding."""
        whole = picture.new_full((height * self.rows, width * self.columns), -1)
        whole[self.area(height, width)] = picture
        return whole.view(self.rows, height, self.columns, width).transpose(1, 2).reshape(-1, height, width)


@dataclass(frozen=True)
class TiledPicture:
    """A picture among the tiles of an example.

    Attributes:
        tiles: Indices of its tiles, row by row.
        grid: The grid of the tiles.
        whole: Index of a further tile that shows the whole picture; None if there is none.
    """

    tiles: range
    grid: TileGrid = TileGrid()
    whole: int | None = None


@dataclass(frozen=True)
class TileReader:
    """Finds pictures among tiles by their pixels: a whole picture resembles its joined and shrunk tiles.

    Attributes:
        leads: Whether the whole picture is before its tiles; otherwise it is after them.
    """

    leads: bool

    def one(self, tiles: Tensor, first: int, size: tuple[int, int]) -> TiledPicture | None:
        """Return the picture that all ``(n, C, H, W)`` tiles form; None if they are not one picture.

        Args:
            tiles: The tiles.
            first: Index of the first tile.
            size: Height and width of the picture before it was cut.
        """
        if len(tiles) == 1:
            return TiledPicture(range(first, first + 1))
        cost, grid = self._best(_small(tiles), size)
        return self._picture(first, len(tiles), grid) if cost <= SAID_TO_BE_ALIKE else None

    def fits(self, tiles: Tensor) -> bool:
        """Return whether ``(n, C, H, W)`` tiles are the parts of one picture and the whole picture."""
        return len(tiles) >= FEWEST and self._best(_small(tiles), None)[0] <= ALIKE

    def several(self, tiles: Tensor, first: int = 0) -> list[TiledPicture]:
        """Return the pictures of ``(n, C, H, W)`` tiles in order; each has one tile or several."""
        small, found, start = _small(tiles), list[TiledPicture](), 0
        while start < len(small):
            stop, grid = self._next(small[start:])
            found.append(self._picture(first + start, stop, grid))
            start += stop
        return found

    def _next(self, tiles: Tensor) -> tuple[int, TileGrid]:
        """Return the number of tiles of the first picture, and their grid; all tiles if they are one picture."""
        counts = [len(tiles), *range(FEWEST, len(tiles))] if len(tiles) >= FEWEST else []
        best, found = ALIKE, (1, TileGrid())
        for count in counts:
            cost, grid = self._best(tiles[:count], None)
            if cost <= best:
                best, found = cost, (count, grid)
            if count == len(tiles) and cost <= ALIKE:
                break
        return found

    def _best(self, tiles: Tensor, size: tuple[int, int] | None) -> tuple[float, TileGrid]:
        """Return the difference between whole picture and joined tiles in the best grid, and this grid."""
        whole, parts = (tiles[0], tiles[1:]) if self.leads else (tiles[-1], tiles[:-1])
        return min(((_unlike(whole, grid.joined(parts)), grid) for grid in _grids(len(parts), size)), key=_cost)

    def _picture(self, first: int, count: int, grid: TileGrid) -> TiledPicture:
        if count == 1:
            return TiledPicture(range(first, first + 1))
        start, whole = (first + 1, first) if self.leads else (first, first + count - 1)
        return TiledPicture(range(start, start + count - 1), grid, whole)


def reader_of(stacks: Sequence[Tensor]) -> TileReader:
    """Return the reader that fits more examples; if none fits any, the reader that finds fewer pictures.

    Args:
        stacks: The tiles of each example, ``(n, C, H, W)``.
    """
    readers = TileReader(leads=False), TileReader(leads=True)
    fitting = [sum(reader.fits(tiles) for tiles in stacks) for reader in readers]
    if any(fitting):
        return readers[fitting[1] > fitting[0]]
    return min(readers, key=lambda reader: sum(len(reader.several(tiles)) for tiles in stacks))


def _cost(found: tuple[float, TileGrid]) -> float:
    return found[0]


def _grids(count: int, size: tuple[int, int] | None) -> Iterator[TileGrid]:
    """Yield the grids of ``count`` tiles, the most square first; each first with the padding of a known size."""
    rows = [rows for rows in range(1, count + 1) if count % rows == 0]
    for number in sorted(rows, key=lambda rows: abs(math.log(rows * rows / count))):
        yield from (TileGrid(number, count // number, one) for one in ([size, None] if size else [None]))


def _small(tiles: Tensor) -> Tensor:
    """Return tiles at the size at which they are compared, in float32."""
    height, width = (min(side, COMPARED) for side in tiles.shape[2:])
    return adaptive_avg_pool2d(tiles.float(), (height, width)).nan_to_num()


def _unlike(whole: Tensor, picture: Tensor) -> float:
    """Return the mean squared difference of a picture and a shrunk one, as a fraction of the first one's variance."""
    shrink = partial(interpolate, size=whole.shape[1:], mode="bicubic", antialias=True)
    shrunk = shrink(picture.unsqueeze(0))[0]
    variance = (whole - whole.mean((1, 2), keepdim=True)).square().mean()
    least = torch.finfo(torch.float32).eps * whole.square().mean()  # rounding, for pictures of one colour
    return float((shrunk - whole).square().mean() / (variance + least).clamp(min=torch.finfo(torch.float32).tiny))
