"""Running text in a panel: wrapped, shrunk, and cut only when it must be."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mviz_lightning.plotting.lettering import GREY, extent, on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (10.0, 9.0, 8.0)
"""Points, tried in this order."""

SPECIAL = "#b0b0b0"

Piece: TypeAlias = tuple[str, int]
"""A word and its unit; -1 where it belongs to none."""


class Placed(NamedTuple):
    """A word where it stands."""

    line: int
    column: int
    word: str
    segment: int


def wrap(pieces: Sequence[Piece], width: int) -> list[Placed]:
    """Set words line by line; one that is longer than a line goes on in the next."""
    placed: list[Placed] = []
    line = column = 0
    for word, segment in pieces:
        for part in (word[start : start + width] for start in range(0, len(word), width)):
            if column and column + len(part) > width:
                line, column = line + 1, 0
            placed.append(Placed(line, column, part, segment))
            column += len(part) + 1
    return placed


def fit(pieces: Sequence[Piece], width: int, height: int, order: Sequence[int]) -> list[Placed]:
    """Set as many words as fit, the most important ones, with dots for the others.

    Args:
        pieces: The words.
        width: Of a line, in letters.
        height: In lines.
        order: Indices of pieces, the most important first.
    """

    def placed(count: int) -> list[Placed]:
        return wrap(elided(pieces, set(order[:count])), width)

    def is_long(count: int) -> bool:
        return bool(pieces) and placed(count)[-1].line >= height

    return placed(bisect_left(range(1, len(pieces) + 1), x=True, key=is_long))


def elided(pieces: Sequence[Piece], kept: set[int]) -> list[Piece]:
    """Return the kept words, with dots for every run of others."""
    found: list[Piece] = []
    for stays, run in groupby(range(len(pieces)), kept.__contains__):
        found += [pieces[i] for i in run] if stays else [("…", -1)]
    return found


def draw_flow(
    axes: "Axes",
    pieces: Sequence[Piece],
    *,
    faces: Any | None = None,
    order: Sequence[int] | None = None,
) -> None:
    """Draw running text.

    Args:
        axes: The panel; its size decides about that of the letters.
        pieces: The words.
        faces: ``(U, 4)`` colours behind the units; None to leave them white.
        order: Indices of pieces, those to keep first when not all fit; by default from the beginning.
    """
    size, placed = _largest(axes, pieces, range(len(pieces)) if order is None else order)
    columns, lines = extent(axes, size)
    axes.set(xlim=(-0.6, columns - 0.6), ylim=(lines, 0))
    if faces is not None:
        _draw_backgrounds(axes, placed, faces)
    colours = [_letter_colour(faces, word.segment) for word in placed]
    for colour in dict.fromkeys(colours):
        alike = [word for word, own in zip(placed, colours, strict=True) if own == colour]
        for _, line in groupby(alike, lambda word: word.line):
            _write_line(axes, list(line), color=colour, size=size)


def _largest(axes: "Axes", pieces: Sequence[Piece], order: Sequence[int]) -> tuple[float, list[Placed]]:
    """Return the largest size at which all fits, or as much as possible at the smallest."""
    for size in SIZES:
        width, height = (int(number) for number in extent(axes, size))
        placed = wrap(pieces, max(width - 1, 1))
        if not placed or placed[-1].line < height:
            return size, placed
    return size, fit(pieces, max(width - 1, 1), max(height, 1), order)


def _letter_colour(faces: Any | None, segment: int) -> str:
    if segment < 0:
        return SPECIAL
    return "black" if faces is None else on(faces[segment])


def _draw_backgrounds(axes: "Axes", placed: Sequence[Placed], faces: Any) -> None:
    from matplotlib.collections import PolyCollection

    boxes = list(_boxes(placed))
    corners = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for x0, x1, y0, y1, _ in boxes]
    axes.add_collection(PolyCollection(corners, facecolors=[faces[box[-1]] for box in boxes], linewidths=0))


def _boxes(placed: Sequence[Placed]) -> Iterator[tuple[float, float, float, float, int]]:
    """Yield left, right, top, bottom and unit; words of one unit in one line share a box."""
    for (line, segment), run in groupby(placed, lambda word: (word.line, word.segment)):
        words = list(run)
        if segment >= 0:
            right = words[-1].column + len(words[-1].word)
            yield words[0].column - 0.4, right + 0.4, line + 0.05, line + 0.95, segment


def _write_line(axes: "Axes", words: Sequence[Placed], **style: Any) -> None:
    """Write words of one line and colour at once: every text that is drawn takes its time."""
    start = words[0].column
    text = ""
    for word in words:
        text = text.ljust(word.column - start) + word.word
    write(axes, start, words[0].line + 0.75, text, va="baseline", **style)


def note(axes: "Axes", text: str) -> None:
    """Write a remark in the middle of an empty panel."""
    write(axes, 0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def by_strength(pieces: Sequence[Piece], weights: Any) -> list[int]:
    """Return indices of pieces, those of the strongest units first."""
    strength = [abs(weights[segment]) if segment >= 0 else -1.0 for _, segment in pieces]
    order: list[int] = np.argsort(-np.asarray(strength), kind="stable").tolist()
    return order
