"""Monospaced text: what fits into a panel follows from the width of one character, without drawing."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any

from mviz_lightning.plotting.system_fonts import FONT_FAMILY, cells, legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT_SIZE = 8.0
"""Smallest font size of a picture in points; see ``LEGIBLE`` of :mod:`mviz_lightning.plotting.canvas`."""

LINE_HEIGHT = 1.35
"""Height of a line, as a multiple of the font size."""

GREY = "#8a8a8a"
"""Colour of secondary text and of axes."""


@cache
def character_width(size: float, dpi: float) -> float:
    """Return the width of a character in pixels, after hinting.

    Args:
        size: Font size in points.
        dpi: Pixels per inch.
    """
    from matplotlib.font_manager import FontProperties

    from mviz_lightning.plotting.text_rendering import font

    return font(FontProperties(FONT_FAMILY), size * dpi / 72).getlength("m" * 20) / 20


def text_capacity(axes: "Axes", size: float = FONT_SIZE) -> tuple[float, float]:
    """Return how many characters fit into a line of a panel, and how many lines, at a font size in points."""
    box, dpi = axes.get_window_extent(), axes.get_figure().dpi  # type: ignore[union-attr]
    return box.width / character_width(size, dpi), box.height / (size * LINE_HEIGHT * dpi / 72)


def write(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    """Write one line into a panel; a dollar sign does not start a formula, and letters without a glyph become boxes."""
    from mviz_lightning.plotting.text_rendering import (
        PillowText,
    )  # plotting is loaded when a picture is drawn, not at import

    axes.add_artist(PillowText(x, y, legible(text), **{"family": FONT_FAMILY, "size": FONT_SIZE, **style}))


def shortened(text: str, width: int) -> str:
    """Return text cut to ``width`` cells, with an ellipsis at the cut."""
    if cells(text) <= width:
        return text
    ends = accumulate(map(cells, text))
    return text[: sum(end < width for end in ends)] + "…"


def distinct(names: Sequence[str], width: int) -> list[str]:
    """Return names cut to ``width`` cells so that as many as possible stay different.

    All names are cut in the same way: at the end; at the start, where all names are equal (a number stays whole);
    or in the middle. The first way with the most different names wins.
    """
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in shared)
    head, start = max(width - 1, 0) // 2, len(common.rstrip("0123456789"))
    tail = max(width - 1, 0) - head
    middle = [name if cells(name) <= width else shortened(name, head + 1) + _end(name, tail) for name in names]
    without = [name if cells(name) <= width else shortened(f"…{name[start:]}", width) for name in names]
    return max(([shortened(name, width) for name in names], without, middle), key=lambda cut: len(set(cut)))


def _end(text: str, width: int) -> str:
    """Return the last letters of a text, of up to ``width`` cells."""
    ends = accumulate(map(cells, reversed(text)))
    return text[len(text) - sum(end <= width for end in ends) :]


def text_colour_on(face: Any) -> str:
    """Return the colour of text that can be read on a background: black or white.

    Args:
        face: Red, green and blue of the background in 0..1; further values are ignored.
    """
    red, green, blue = face[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
