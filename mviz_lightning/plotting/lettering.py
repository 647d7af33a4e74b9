"""Letters of known width: what fits into a panel is known without drawing it."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY = "DejaVu Sans Mono"
"""Comes with matplotlib, and all its letters are equally wide."""

SMALL = 8.0
"""Points; smaller letters cannot be read where a dashboard shrinks the picture."""

LINE = 1.35
"""Height of a line, in sizes of its letters."""

GREY = "#8a8a8a"


@cache
def cell(size: float, dpi: float) -> float:
    """Return the width of a letter in pixels, as hinting rounds it."""
    from matplotlib.font_manager import FontProperties

    from mviz_lightning.plotting.ink import font

    return font(FontProperties(FAMILY), size * dpi / 72).getlength("m" * 20) / 20


def extent(axes: "Axes", size: float = SMALL) -> tuple[float, float]:
    """Return how many letters fit side by side, and how many lines."""
    box, dpi = axes.get_window_extent(), axes.get_figure().dpi  # type: ignore[union-attr]
    return box.width / cell(size, dpi), box.height / (size * LINE * dpi / 72)


def write(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    """Write a line as it is: a dollar is no formula, what the font does not have is a box."""
    from mviz_lightning.plotting.ink import Ink  # plotting is loaded when a picture is drawn, not at import

    axes.add_artist(Ink(x, y, legible(text), **{"family": FAMILY, "size": SMALL, **style}))


def legible(text: str) -> str:
    """Return a line in which every letter is one that the font has."""
    return "".join(letter if letter in _letters() else "□" for letter in unicodedata.normalize("NFC", text))


@cache
def _letters() -> frozenset[str]:
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont(FAMILY)).get_charmap()
    return frozenset(letter for letter in map(chr, known) if letter.isprintable())


def shortened(text: str, width: int) -> str:
    """Return a text of at most ``width`` letters."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def distinct(names: Sequence[str], width: int) -> list[str]:
    """Return names of at most ``width`` letters that can be told apart, if a cut in one place makes them so.

    Cut at the end if that will do; else without what all begin with, numbers left whole, or in the middle.
    """
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in shared)
    head, start = max(width - 1, 0) // 2, len(common.rstrip("0123456789"))
    tail = max(width - 1, 0) - head
    middle = [name if len(name) <= width else f"{name[:head]}…{name[len(name) - tail :]}" for name in names]
    without = [name if len(name) <= width else shortened(f"…{name[start:]}", width) for name in names]
    return max(([shortened(name, width) for name in names], without, middle), key=lambda cut: len(set(cut)))


def on(face: Any) -> str:
    """Return the colour of letters that can be read on a colour."""
    red, green, blue = face[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
