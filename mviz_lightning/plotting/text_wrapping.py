"""Running text in a panel: wrapped, then set in a smaller font, then shortened, until it fits."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mviz_lightning.plotting.system_fonts import cells
from mviz_lightning.plotting.text_fitting import GREY, text_capacity, text_colour_on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_SIZES = (10.0, 9.0, 8.0)
"""Font sizes in points, tried in this order."""

UNSEGMENTED_COLOUR = "#b0b0b0"
"""Light grey: words that belong to no segment."""

SegmentedWord: TypeAlias = tuple[str, int]
"""A word and its segment; -1 where it belongs to none."""


class PlacedWord(NamedTuple):
    """A word (or a part of a long one), its line and column, and its segment."""

    line: int
    column: int
    word: str
    segment: int


def wrap_words(words: Sequence[SegmentedWord], width: int) -> list[PlacedWord]:
    """Place words line by line; a word longer than ``width`` cells continues in the next line."""
    placed: list[PlacedWord] = []
    line = column = 0
    for word, segment in words:
        for part in _pieces(word, width):
            if column and column + cells(part) > width:
                line, column = line + 1, 0
            placed.append(PlacedWord(line, column, part, segment))
            column += cells(part) + 1
    return placed


def _pieces(word: str, width: int) -> Iterator[str]:
    """Yield the parts of a word, of up to ``width`` cells each."""
    while word:
        count = max(sum(end <= width for end in accumulate(map(cells, word))), 1)
        yield word[:count]
        word = word[count:]


def fit_words(words: Sequence[SegmentedWord], width: int, height: int, order: Sequence[int]) -> list[PlacedWord]:
    """Place as many of the most important words as fit, with an ellipsis for the others.

    Args:
        words: All words.
        width: Characters of a line.
        height: Number of lines.
        order: Indices of words, the most important first.
    """

    def placed(count: int) -> list[PlacedWord]:
        return wrap_words(with_ellipses(words, set(order[:count])), width)

    def is_long(count: int) -> bool:
        return bool(words) and placed(count)[-1].line >= height

    return placed(bisect_left(range(1, len(words) + 1), x=True, key=is_long))


def with_ellipses(words: Sequence[SegmentedWord], kept: set[int]) -> list[SegmentedWord]:
    """Return the words with these indices, and an ellipsis for every run of others."""
    found: list[SegmentedWord] = []
    for stays, run in groupby(range(len(words)), kept.__contains__):
        found += [words[i] for i in run] if stays else [("…", -1)]
    return found


def draw_words(
    axes: "Axes",
    words: Sequence[SegmentedWord],
    *,
    faces: Any | None = None,
    order: Sequence[int] | None = None,
) -> None:
    """Draw running text.

    Args:
        axes: The panel; its size decides the font size.
        words: All words.
        faces: ``(segments, 4)``: colours behind the segments; None leaves them white.
        order: Indices of words, the most important first; they stay when not all fit. By default, the first words stay.
    """
    size, placed = _largest_font_size(axes, words, range(len(words)) if order is None else order)
    columns, lines = text_capacity(axes, size)
    axes.set(xlim=(-0.6, columns - 0.6), ylim=(lines, 0))
    if faces is not None:
        _draw_backgrounds(axes, placed, faces)
    colours = [_letter_colour(faces, word.segment) for word in placed]
    for colour in dict.fromkeys(colours):
        alike = [word for word, own in zip(placed, colours, strict=True) if own == colour]
        for _, line in groupby(alike, lambda word: word.line):
            _write_line(axes, list(line), color=colour, size=size)


def _largest_font_size(
    axes: "Axes", words: Sequence[SegmentedWord], order: Sequence[int]
) -> tuple[float, list[PlacedWord]]:
    """Return the largest font size at which all words fit, else the smallest and as many words as fit."""
    for size in FONT_SIZES:
        width, height = (int(number) for number in text_capacity(axes, size))
        placed = wrap_words(words, max(width - 1, 1))
        if not placed or placed[-1].line < height:
            return size, placed
    return size, fit_words(words, max(width - 1, 1), max(height, 1), order)


def _letter_colour(faces: Any | None, segment: int) -> str:
    if segment < 0:
        return UNSEGMENTED_COLOUR
    return "black" if faces is None else text_colour_on(faces[segment])


def _draw_backgrounds(axes: "Axes", placed: Sequence[PlacedWord], faces: Any) -> None:
    from matplotlib.collections import PolyCollection

    boxes = list(_boxes(placed))
    corners = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for x0, x1, y0, y1, _ in boxes]
    axes.add_collection(PolyCollection(corners, facecolors=[faces[box[-1]] for box in boxes], linewidths=0))


def _boxes(placed: Sequence[PlacedWord]) -> Iterator[tuple[float, float, float, float, int]]:
    """Yield left, right, top, bottom and segment; words of one segment in one line share a box."""
    for (line, segment), run in groupby(placed, lambda word: (word.line, word.segment)):
        words = list(run)
        if segment >= 0:
            right = words[-1].column + cells(words[-1].word)
            yield words[0].column - 0.4, right + 0.4, line + 0.05, line + 0.95, segment


def _write_line(axes: "Axes", words: Sequence[PlacedWord], **style: Any) -> None:
    """Write the words of one line and colour as one text, which is quicker than one text per word."""
    start = words[0].column
    text = ""
    for word in words:
        text += " " * (word.column - start - cells(text)) + word.word
    write(axes, start, words[0].line + 0.75, text, va="baseline", **style)


def draw_note(axes: "Axes", text: str) -> None:
    """Write grey text in the middle of an empty panel."""
    write(axes, 0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)


def strongest_first(words: Sequence[SegmentedWord], weights: Any) -> list[int]:
    """Return the indices of words, those of the segments with the largest absolute weights first."""
    strength = [abs(weights[segment]) if segment >= 0 else -1.0 for _, segment in words]
    order: list[int] = np.argsort(-np.asarray(strength), kind="stable").tolist()
    return order
