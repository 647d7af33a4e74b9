"""Figures of panels at fixed places, which makes them quick to draw: no layout is computed."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mviz_lightning.plotting.system_fonts import cells, fonts_in_use, legible
from mviz_lightning.plotting.text_fitting import FONT_SIZE
from mviz_lightning.plotting.vector_files import vector_file
from mviz_lightning.sinks.records import Picture, Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

PIXELS = 640
"""Width of a picture in pixels."""

SHOWN_WIDTH = 340
"""Width in pixels at which TensorBoard shows a picture, until one clicks on it."""

LEGIBLE = 8.0
"""Smallest font size in pixels at that width: letters of fewer pixels run together."""

DPI = math.ceil(72 * LEGIBLE * PIXELS / (SHOWN_WIDTH * FONT_SIZE))
"""Pixels per inch of every figure, so that the smallest font size is legible at the width that TensorBoard shows."""

WIDTH = PIXELS / DPI
"""Width of a figure in inches."""

TITLE_SIZE = 10.0
"""Font size of titles in points; they are bold."""

TITLE_MARGIN = 0.1
"""Inches left free at each side of a title."""

COLOUR_BAR_WIDTH = 11
"""Width of a colour bar in pixels."""

MIN_HEIGHT_FOR_ZERO = 0.4
"""Height of a colour bar in inches from which on the label 0 fits between those of its ends."""


def pixels(figure: "Figure") -> Pixels:
    """Return a figure as pixels, ``(H, W, 3)`` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _use_system_fonts(figure)
    canvas: Any = FigureCanvasAgg(figure)  # whose methods carry no types
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]


def _use_system_fonts(figure: "Figure") -> None:
    """Let ticks, legends and labels, which matplotlib draws itself, also use the fonts of the system in use."""
    if not fonts_in_use():
        return
    from matplotlib.text import Text

    from mviz_lightning.plotting.text_rendering import PillowText, family_of

    added = [family for path in fonts_in_use() if (family := family_of(path))]
    for text in figure.findobj(Text):
        if not isinstance(text, PillowText):
            own = [family for family in text.get_fontfamily() if family not in added]
            text.set_fontfamily([*own, *added])


def picture(figure: "Figure", key: str, caption: str = "", *, keep: bool = False, note: str = "") -> Picture:
    """Return a figure as a record; see :class:`~mviz_lightning.sinks.records.Picture` for the arguments."""
    return Picture(key, pixels(figure), caption, keep, note, vector_file(figure))


def diverging(largest: float) -> "ScalarMappable":
    """Return a colour scale from blue (``-largest``) over white to red (``largest``), safe for the colour-blind."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    limit = largest if largest > 0 else 1.0
    return ScalarMappable(Normalize(-limit, limit), colormaps["RdBu_r"])


def colour_limit(colours: "ScalarMappable", weights: npt.NDArray[Any]) -> float:
    """Return the weight with the strongest colour; the largest absolute weight where the scale has no upper end."""
    high = colours.get_clim()[1]
    return float(high or np.abs(weights).max(initial=0) or 1)


class Canvas:
    """A figure with places in inches from the top left, reused for one picture after the other.

    Creating a panel takes longer than drawing it. So a panel of the same role is emptied and reused.

    Args:
        height: Height of the first picture in inches.
        width: Width of all pictures in inches.
    """

    def __init__(self, height: float = 1.0, width: float = WIDTH) -> None:
        from matplotlib.figure import Figure  # plotting is loaded when a picture is drawn, not at import

        self.width = width
        self.figure = Figure(dpi=DPI, facecolor="white")
        self._panels: dict[str, list[Axes]] = {}
        self._used: dict[str, int] = {}
        self.begin(height)

    def begin(self, height: float) -> None:
        """Start an empty picture of this height in inches."""
        self.height = height
        self.figure.set_size_inches(self.width, height)
        for artist in [*self.figure.artists, *self.figure.images]:
            artist.remove()
        self._used.clear()
        for panel in self.figure.axes:
            panel.set_visible(False)

    def panel(self, left: float, top: float, width: float, height: float, role: str = "") -> "Axes":
        """Return an empty panel without ticks.

        Args:
            left: Left edge in inches from the left.
            top: Upper edge in inches from the top.
            width: Inches.
            height: Inches.
            role: Any name for what the panel shows. Later pictures reuse panels of the same role; panels without a role
                are new.
        """
        place = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        known, used = self._panels.setdefault(role, []), self._used.get(role, 0)
        if role and used < len(known):
            axes = _stripped(known[used])
            axes.set_position(place)
        else:
            axes = self.figure.add_axes(place, xticks=[], yticks=[])
            axes.spines[:].set_color("#bbbbbb")
            known.append(axes)
        self._used[role] = used + 1
        return axes

    def text(self, left: float, top: float, words: str, **style: Any) -> None:
        """Write text with its top left corner at a place, in inches; a dollar sign does not start a formula."""
        from mviz_lightning.plotting.text_rendering import PillowText

        lines = "\n".join(map(legible, words.split("\n")))
        placed: dict[str, Any] = {"fontsize": 9, "va": "top"} | style
        self.figure.add_artist(PillowText(left / self.width, 1 - top / self.height, lines, **placed))

    def title(self, lines: Sequence[str]) -> None:
        """Write the lines of :func:`title_lines` at the top."""
        self.text(TITLE_MARGIN, 0.08, "\n".join(lines), fontsize=TITLE_SIZE, weight="bold", linespacing=1.1)

    def scale(self, left: float, top: float, height: float, colours: "ScalarMappable") -> None:
        """Draw a colour bar with labels at its ends and at 0; as pixels, since a panel takes ten times as long."""
        limit = float(colours.get_clim()[1] or 1)
        steps = np.linspace(limit, -limit, round(height * DPI))
        bar = np.repeat(colours.to_rgba(steps)[:, None], COLOUR_BAR_WIDTH, 1)
        self.figure.figimage(bar, round(left * DPI), round((self.height - top - height) * DPI))
        ends = ((0, _short_number(limit)), (1, _short_number(-limit)))
        for share, words in ends if height < MIN_HEIGHT_FOR_ZERO else (*ends, (0.5, "0")):
            self.text(left + COLOUR_BAR_WIDTH / DPI + 0.03, top + share * height, words, va="center", fontsize=8)

    def pixels(self) -> Pixels:
        """Return the picture as pixels, ``(H, W, 3)``."""
        return pixels(self._without_idle_axes())

    def picture(self, key: str, caption: str = "", *, keep: bool = False, note: str = "") -> Picture:
        """Return the picture as a record; see :class:`~mviz_lightning.sinks.records.Picture` for the arguments."""
        return picture(self._without_idle_axes(), key, caption, keep=keep, note=note)

    def _without_idle_axes(self) -> "Figure":
        """Hide axes without ticks and label, to save time."""
        for axis in (axis for panel in self.figure.axes for axis in (panel.xaxis, panel.yaxis)):
            if not (len(axis.get_majorticklocs()) or axis.get_label_text()):
                axis.set_visible(False)
        return self.figure


def _stripped(axes: "Axes") -> "Axes":
    """Return a panel with all its content removed."""
    for artist in [*axes.images, *axes.lines, *axes.patches, *axes.collections, *axes.texts, *axes.artists]:
        artist.remove()
    if (legend := axes.get_legend()) is not None:
        legend.remove()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_visible(True)
    axes.relim()
    axes.set_autoscale_on(True)
    axes.set(xticks=[], yticks=[], aspect="auto", visible=True)
    return axes


def _short_number(value: float) -> str:
    """Return a number in up to seven characters."""
    return f"{value:+.2g}" if abs(value) >= 0.001 else f"{value:+.0e}".replace("e-0", "e-")


def wrapped(words: str, characters: int) -> Sequence[str]:
    """Return text in lines of up to ``characters`` cells."""
    import textwrap

    if cells(words) == len(words):
        return textwrap.wrap(words, characters) or [""]
    return _in_lines(words, characters, cells)


def title_lines(words: str) -> Sequence[str]:
    """Return a title in lines that fit across a picture; a word wider than a line is broken."""
    from mviz_lightning.plotting.text_rendering import width_of_bold

    return _in_lines(words, (WIDTH - 2 * TITLE_MARGIN) * 72 / TITLE_SIZE, width_of_bold)


def _in_lines(words: str, room: float, width: Callable[[str], float]) -> list[str]:
    """Return text in lines that are up to ``room`` wide; a word wider than a line is broken."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if width(longer) <= room:
            lines[-1] = longer
        else:
            lines[len(lines) - (not lines[-1]) :] = _broken(word, room, width)
    return lines


def _broken(word: str, room: float, width: Callable[[str], float]) -> list[str]:
    """Return the parts of a word, each up to ``room`` wide, or one letter."""
    parts = []
    while word:
        count = max(sum(width(word[:end]) <= room for end in range(1, len(word) + 1)), 1)
        parts.append(word[:count])
        word = word[count:]
    return parts
