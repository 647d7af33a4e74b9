"""Diagrams on matplotlib axes, as the ``plot`` methods of torchmetrics return them."""

import math
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mviz_lightning.plotting.diagrams import Bars, Curve, Curves, Diagram, Matrix, SegmentMap
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.plotting.text_fitting import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mviz_lightning.sinks.records import Picture

    GivenAxes: TypeAlias = Axes | None
    FigureAndAxes: TypeAlias = tuple[Figure, Axes]

MOST_ROWS = 24
"""Largest number of segments that a figure lists."""

NAMED = 24
"""Largest number of rows or columns of a matrix whose names are written."""


PIXELS_OF_LETTER, LINE_HEIGHT = 7, 0.15
"""Pixels of a letter and inches of a line of the note below a picture."""


def axes_of(ax: "GivenAxes", width: float = 6.4, height: float = 3.6) -> "FigureAndAxes":
    """Return the axes that were given and their figure, or new ones.

    New ones are pyplot's, so that a notebook shows the figure, and ``plt.show()`` a window.
    """
    if ax is not None:
        return ax.get_figure(), ax  # type: ignore[return-value]
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")


def plot_diagram(diagram: Diagram, ax: "GivenAxes" = None) -> "FigureAndAxes":
    """Draw a diagram into axes; return figure and axes."""
    if isinstance(diagram, Curves):
        figure, axes = axes_of(ax)
        _draw_curves(axes, diagram)
    elif isinstance(diagram, Matrix):
        figure, axes = axes_of(ax)
        _draw_matrix(axes, diagram)
    else:
        labelled = _bars_of(diagram)
        figure, axes = axes_of(ax, height=1.2 + 0.3 * len(labelled.bars))
        _draw_bars(axes, labelled)
    axes.set_title(legible(diagram.title), loc="left", fontsize=10)
    return figure, axes


def plot_picture(picture: "Picture", ax: "GivenAxes" = None) -> "FigureAndAxes":
    """Show a picture in axes, pixel by pixel, and below it the note that says how to read it."""
    height, width, _ = picture.pixels.shape
    lines = wrap(picture.note, width // PIXELS_OF_LETTER) if ax is None else []
    figure, axes = axes_of(ax, width / 100, height / 100 + LINE_HEIGHT * len(lines))
    axes.imshow(picture.pixels, interpolation="none" if ax is None else "antialiased")
    axes.set_axis_off()
    if lines:
        place: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "parse_math": False}
        axes.text(0, -0.01, "\n".join(map(legible, lines)), fontsize=8, color="#555555", **place)
    return figure, axes


def _bars_of(diagram: Bars | SegmentMap) -> Bars:
    """Return the strongest segments of a map as bars; bars as they are."""
    if isinstance(diagram, Bars):
        return diagram
    from mviz_lightning.plotting.diagrams import Bar
    from mviz_lightning.plotting.svg import LOWERS, RAISES

    weights = diagram.weights
    order = sorted(np.argsort(-np.abs(np.nan_to_num(weights)), kind="stable")[:MOST_ROWS].tolist())
    bars = [
        Bar(diagram.names[place], float(weights[place]), colour=RAISES if weights[place] > 0 else LOWERS)
        for place in order
    ]
    return Bars(f"{diagram.title} ({diagram.foot})" if diagram.foot else diagram.title, bars)


def _draw_bars(axes: "Axes", diagram: Bars) -> None:
    places = np.arange(len(diagram.bars))
    values = [bar.value for bar in diagram.bars]
    axes.barh(places, values, color=[bar.colour for bar in diagram.bars], height=0.66)
    for place, bar in zip(places, diagram.bars, strict=True):
        if math.isfinite(bar.low + bar.high):
            axes.hlines(place, bar.low, bar.high, color="black", linewidth=1.4)
            axes.plot([bar.low, bar.high], [place] * 2, "|", color="black", markersize=7)
    axes.set_yticks(places, [legible(shortened(bar.label, 30)) for bar in diagram.bars])
    axes.invert_yaxis()
    axes.axvline(0, color="#444444", linewidth=0.8)
    if diagram.percent:
        low, high = diagram.span
        axes.set_xlim(min(0, low), high * 1.02)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curves(axes: "Axes", diagram: Curves) -> None:
    places = np.array(diagram.places, dtype=float)
    for curve in diagram.curves:
        colour = curve.colour or "black"
        axes.fill_between(places, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        if len(places) == 1:
            axes.vlines(places, curve.low, curve.high, color=colour, alpha=0.6)
        style = "-" if curve.colour else ":"
        axes.plot(places, curve.values, style, color=colour, marker="o", markersize=3.5, label=legible(curve.label))
        _draw_marks(axes, places, curve)
    axes.set_xlabel(diagram.axis)
    if diagram.percent:
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        low, high = diagram.span
        axes.set_ylim(low - 0.03, high + 0.03)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if diagram.curves:
        axes.legend(frameon=False, fontsize=8)


def _draw_marks(axes: "Axes", places: Any, curve: Curve) -> None:
    for urgent, marker in ((True, "X"), (False, "o")):
        found = [mark.place for mark in curve.marks if mark.urgent == urgent]
        style: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "linestyle": ""}
        colour = (curve.colour or "black") if urgent else "white"
        axes.plot(places[found], curve.values[found], marker=marker, color=colour, **style)


def _draw_matrix(axes: "Axes", diagram: Matrix) -> None:
    limit = diagram.limit or 1.0
    colours, low = ("RdBu_r", -limit) if diagram.diverging else ("viridis", 0.0)
    image = axes.imshow(diagram.weights, cmap=colours, vmin=low, vmax=limit, aspect="auto")
    for axis, names in ((axes.xaxis, diagram.columns), (axes.yaxis, diagram.rows)):
        if len(names) <= NAMED:
            axis.set_ticks(range(len(names)), [legible(shortened(name, 20)) for name in names])
    if len(diagram.columns) <= NAMED:
        axes.tick_params(axis="x", rotation=45)
    axes.figure.colorbar(image, ax=axes)
