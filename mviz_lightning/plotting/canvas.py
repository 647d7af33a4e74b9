"""Figures of panels at fixed places: quick to draw, since nothing is measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mviz_lightning.plotting.lettering import legible
from mviz_lightning.sinks.records import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

DPI = 100
WIDTH = 6.4
"""Inches: twice the width of a small panel of a dashboard is enough to read there."""

BAR = 9
"""Pixels: the width of a colour bar."""

LOWEST = 0.4
"""Inches: the height of a colour bar from which on there is room for its 0."""


def pixels(figure: "Figure") -> Pixels:
    """Rasterise a figure to ``(H, W, 3)`` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # whose methods carry no types
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]


def diverging(largest: float) -> "ScalarMappable":
    """Return a symmetric scale from blue (lowers) over white to red (raises), told apart by the colour-blind too."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    limit = largest if largest > 0 else 1.0
    return ScalarMappable(Normalize(-limit, limit), colormaps["RdBu_r"])


class Canvas:
    """A figure whose places are given in inches from the top left, used again for one picture after the other.

    Making a panel takes longer than drawing it; so one that served a role before is stripped and used again.

    Args:
        height: Inches, of the first picture.
        width: Inches.
    """

    def __init__(self, height: float = 1.0, width: float = WIDTH) -> None:
        from matplotlib.figure import Figure  # plotting is loaded when a picture is drawn, not at import

        self.width = width
        self.figure = Figure(dpi=DPI, facecolor="white")
        self._panels: dict[str, list[Axes]] = {}
        self._used: dict[str, int] = {}
        self.begin(height)

    def begin(self, height: float) -> None:
        """Begin a picture of so many inches."""
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
            left: Inches.
            top: Inches.
            width: Inches.
            height: Inches.
            role: What is drawn there; panels of one role are used again, those of none are new.
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
        """Write words as they are, their top left corner at a place: a dollar is no formula."""
        from mviz_lightning.plotting.ink import Ink

        lines = "\n".join(map(legible, words.split("\n")))
        placed: dict[str, Any] = {"fontsize": 9, "va": "top"} | style
        self.figure.add_artist(Ink(left / self.width, 1 - top / self.height, lines, **placed))

    def scale(self, left: float, top: float, height: float, colours: "ScalarMappable") -> None:
        """Draw a colour bar with its ends and 0; as plain pixels, since a panel costs ten times as much."""
        limit = float(colours.get_clim()[1] or 1)
        steps = np.linspace(limit, -limit, round(height * DPI))
        bar = np.repeat(colours.to_rgba(steps)[:, None], BAR, 1)
        self.figure.figimage(bar, round(left * DPI), round((self.height - top - height) * DPI))
        ends = ((0, _short(limit)), (1, _short(-limit)))
        for share, words in ends if height < LOWEST else (*ends, (0.5, "0")):
            self.text(left + BAR / DPI + 0.03, top + share * height, words, va="center", fontsize=8)

    def pixels(self) -> Pixels:
        """Rasterise; an axis without ticks and label would take its time for nothing."""
        for axis in (axis for panel in self.figure.axes for axis in (panel.xaxis, panel.yaxis)):
            if not (len(axis.get_majorticklocs()) or axis.get_label_text()):
                axis.set_visible(False)
        return pixels(self.figure)


def _stripped(axes: "Axes") -> "Axes":
    """Return a panel without anything in it."""
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


def _short(value: float) -> str:
    """Write a number in seven characters."""
    return f"{value:+.2g}" if abs(value) >= 0.001 else f"{value:+.0e}".replace("e-0", "e-")


def wrapped(words: str, characters: int) -> Sequence[str]:
    """Break a line of words."""
    import textwrap

    return textwrap.wrap(words, characters) or [""]
