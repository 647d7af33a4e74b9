"""Scores of pairs over the training as a picture: retrieval of pairs, and measures of both modalities' embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mviz_lightning.collapse.towers import CHANCE
from mviz_lightning.explainers.contribution_shares.figure import (
    NOT_USED,
    SIDES,
    coloured,
    marked_states,
    of_all,
    run_places,
    series_of,
    shown_runs,
)
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.plotting.canvas import WIDTH, Canvas, title_lines
from mviz_lightning.plotting.panels import LINE, MARGIN
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.plotting.text_fitting import distinct
from mviz_lightning.sinks.records import Picture, RunRecord, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Plot:
    """One small diagram.

    Attributes:
        title: Title of the diagram.
        note: Its unit, and how to read it.
        key: Key of the value; with ``each``, the part of the key before ``/<modality>``.
        each: Whether each modality has a value of its own.
        decimals: Number of decimals of the last value, which is written beside its curve.
        reference: A value for comparison, drawn as a dotted line, and its name.
        limits: Lowest and highest value that the axis always contains.
    """

    title: str
    note: str
    key: str
    each: bool = False
    decimals: int = 2
    reference: tuple[float, str] | None = None
    limits: tuple[float, float] = (0.0, 0.0)

    def keys(self, modalities: Sequence[str]) -> dict[str, str]:
        """Return the name of each curve -> the key of its values."""
        return {name: f"{self.key}/{name}" for name in modalities} if self.each else {"": self.key}


RETRIEVAL = _Plot("retrieval", "partners ranked first in groups", "score", limits=(0.0, 1.04))
"""The first diagram; its reference is chance."""

PLOTS = (
    _Plot("effective rank", "directions that are used", "effective_rank", True, 1, (1.0, "one line")),
    _Plot(
        "alignment",
        "squared distance; 0: equal",
        "alignment",
        reference=(2.0, "unrelated"),
        limits=(0.0, 2.0),
    ),
    _Plot("uniformity", "near -4: spread on sphere", "uniformity", True, reference=(0.0, "one point")),
    _Plot("modality gap", "distance of the means, 0 to 2", "modality_gap", limits=(0.0, 0.5)),
    _Plot("total effect", "share of scores' variance", "total", True, limits=(0.0, 1.04)),
)
"""The other diagrams, row by row. In the picture, they follow the first one."""

STYLES = (("-", "o"), ("--", "s"))
"""Line and marker of the first and of the second modality; they also differ in greyscale."""

MARKS = {State.UNUSED: "○", State.REDUNDANT: "◇", State.COLLAPSED: "✖"}
"""State of a modality -> its marker, as a character for the legend."""

LEFTS, WIDTHS, HEIGHT, HEADING, BELOW = (0.44, 2.72), (1.5, 1.2), 1.15, 0.42, 0.24
"""Inches: left edges and widths of both columns, height of a diagram, and the spaces above and below it."""

LETTERS, APART = 8, 0.14
"""Largest number of letters of a name beside a curve; smallest distance of two names, as a fraction of the height."""

DARK, GREY = "#222222", "#666666"


def pair_curves(rows: Sequence[RunRecord], modalities: Sequence[str], head: str = "") -> Picture:
    """Draw retrieval against chance, the embeddings of both modalities, and the totals, over all runs.

    Args:
        rows: Runs with values, in order.
        modalities: Names, in declared order.
        head: Name of the head, for title and caption; ``""`` for a model with one head.
    """
    all_rows, rows = rows, shown_runs(rows)
    names = [name for name in modalities if f"total/{name}" in rows[-1].values]
    measured = {name for row in rows for name in row.values}
    plots = [_retrieval(rows), *(plot for plot in PLOTS if measured & set(plot.keys(names).values()))]
    title = title_lines(f"{f'Head {head}: pairs' if head else 'Pairs'} of {' and '.join(names)}, over the training")
    bands, (places, label) = -(-len(plots) // 2), run_places(rows)
    top, states = 0.1 + len(title) * LINE + 0.06, marked_states(rows, names)
    canvas = Canvas(top + bands * (HEADING + HEIGHT + BELOW) + 0.2 + (LINE if states else 0), WIDTH)
    canvas.title(title)
    for number, plot in enumerate(plots):
        band, column = divmod(number, 2)
        above = top + band * (HEADING + HEIGHT + BELOW)
        axes = _axes(canvas, plot, LEFTS[column], above, WIDTHS[column])
        _draw(axes, plot, places, rows, names)
        if number >= len(plots) - 2:
            axes.set_xlabel(label, fontsize=8.5, labelpad=1)
    words = "   ".join(f"{MARKS[state]} {state.name.lower()}" for state in states)
    canvas.text(MARGIN, canvas.height - LINE - 0.03, words, fontsize=8.5, color=DARK)
    caption = f"{label} {places[-1]:g}{of_all(rows, all_rows)}"
    return canvas.picture("shares", f"head {head}, {caption}" if head else caption)


def _retrieval(rows: Sequence[RunRecord]) -> _Plot:
    """Return the first diagram, with the chance level of the last run that has one."""
    known = [row.evidence[CHANCE] for row in rows if CHANCE in row.evidence]
    return replace(RETRIEVAL, reference=(known[-1], f"chance {fixed(known[-1], 2)}")) if known else RETRIEVAL


def _axes(canvas: Canvas, plot: _Plot, left: float, top: float, width: float) -> "Axes":
    """Return the empty diagram below its title and note."""
    from matplotlib.ticker import MaxNLocator

    canvas.text(left - 0.34, top, plot.title, fontsize=9.5, weight="bold", color=DARK)
    canvas.text(left - 0.34, top + 0.18, plot.note, fontsize=8, color=GREY)
    axes = canvas.panel(left, top + HEADING, width, HEIGHT)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(labelsize=8, length=2)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _draw(axes: "Axes", plot: _Plot, places: list[float], rows: Sequence[RunRecord], modalities: Sequence[str]) -> None:
    """Draw the curves of a diagram, and write a name and the last value beside each curve."""
    colours = dict(coloured(modalities)) if plot.each else {"": "black"}
    called = dict(zip(modalities, distinct(list(map(legible, modalities)), LETTERS), strict=True))
    ends: dict[str, float] = {}
    for (name, key), (line, marker) in zip(plot.keys(modalities).items(), STYLES, strict=False):
        values, colour = series_of(rows, key), colours[name]
        low, high = (series_of(rows, bound_name(key, side)) for side in SIDES)
        axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(places, values, color=colour, linestyle=line, marker=marker, markersize=3.5)
        if plot.each:
            _mark(axes, places, values, series_of(rows, f"collapse/{name}"), colour)
        known = values[np.isfinite(values)]
        if len(known):
            ends[f"{called.get(name, '')} {fixed(known[-1], plot.decimals)}".strip()] = float(known[-1])
    _fit(axes, plot)
    _write_ends(axes, ends)


def _mark(axes: "Axes", places: list[float], values: Any, states: Any, colour: str) -> None:
    """Mark the runs at which the modality was not used."""
    for state, marker in NOT_USED.items():
        here = states == state
        style: dict[str, Any] = {"marker": marker, "markersize": 7, "markeredgecolor": "black", "linestyle": ""}
        face = colour if state is State.COLLAPSED else "white"
        axes.plot(np.array(places)[here], values[here], color=face, **style)


def _fit(axes: "Axes", plot: _Plot) -> None:
    """Set the limits of the axis, and draw the reference value."""
    low, high = axes.get_ylim()
    low, high = min(low, plot.limits[0]) if any(plot.limits) else low, max(high, plot.limits[1])
    if plot.reference is not None:
        level, words = plot.reference
        low, high = min(low, level), max(high, level + 0.05 * (high - low))
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.2)
        above = level - low < (high - low) / 2
        style: dict[str, Any] = {"fontsize": 8, "color": GREY, "ha": "right", "va": "bottom" if above else "top"}
        axes.text(0.99, level, words, transform=axes.get_yaxis_transform(), **style)
    axes.set_ylim(low, high)


def _write_ends(axes: "Axes", ends: dict[str, float]) -> None:
    """Write the name and the last value of each curve at its right end, without overlaps."""
    low, high = axes.get_ylim()
    ordered = sorted(ends.items(), key=lambda end: end[1])
    place = -1.0
    for above, (words, value) in zip(range(len(ordered) - 1, -1, -1), ordered, strict=True):
        place = min(max((value - low) / (high - low), place + APART), 1 - above * APART)
        axes.text(1.03, place, words, transform=axes.transAxes, fontsize=8, color=DARK, va="center", parse_math=False)
