"""Shares over the training as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.plotting import canvas
from mviz_lightning.plotting.canvas import Canvas
from mviz_lightning.plotting.panels import COLOURS, INTERACTION, MARGIN
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.sinks.records import Picture, RunRecord, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_USED = {State.UNUSED: "o", State.REDUNDANT: "D", State.COLLAPSED: "X"}
"""State of a modality -> marker of the runs with that state."""

LEFT, TOP, HEIGHT, RIGHT = 0.72, 0.32, 2.1, 0.13
"""Inches: left and top edge of the axes in a half of the picture, their height, and the right margin."""

WIDTH = canvas.WIDTH - LEFT - RIGHT
"""Inches: width of the axes."""

LINE = 0.25
"""Inches: height of the line above both halves that names the head."""

LARGEST = 1e12
"""Largest number that is drawn. Larger numbers, as in a damaged file, overflow in matplotlib's conversion to pixels."""

MOST_RUNS = 200
"""Largest number of runs that curves show. More runs take longer to draw, and a diagram has only 500 pixels."""

MOST_WHISKERS = 40
"""Largest number of runs whose intervals are drawn as lines. More lines merge, and hide the values."""

KEY, LETTER = 0.45, 0.066
"""Inches: width of the line before a legend entry and of the gap after the entry, and mean width of a letter."""

NOTE = (
    "Above: the variance of the outputs, split into what each modality explains alone and what only their interaction "
    "explains. Below: total effects, the shares that would be lost without a modality; in these, interactions count "
    "for each modality, so they may add up to more than 1. Lines and bands: 95 % intervals."
)
"""How to read the curves."""

SIDES: tuple[Literal["low", "high"], ...] = ("low", "high")


def share_curves(rows: Sequence[RunRecord], modalities: Sequence[str], head: str = "") -> Picture:
    """Draw the shares of every run: stacked contributions, and total effects, each with 95 % intervals.

    Args:
        rows: Runs with values, in order.
        modalities: Names, in declared order.
        head: Name of the head, for title and caption; ``""`` for a model with one head.
    """
    measured, all_rows = {name for row in rows for name in row.values}, rows
    rows = shown_runs(rows)
    modalities = [name for name in modalities if f"total/{name}" in measured] or modalities  # a head may lack some
    entries = len(modalities) + 1 + len(marked_states(rows, modalities))
    letters = max(len("interaction"), len(" alone") + max(map(len, modalities)))
    columns = max(1, min(4, int(WIDTH / (KEY + LETTER * letters))))
    top = TOP + (LINE if head else 0)
    below = TOP + HEIGHT + 0.56 + 0.2 * -(-entries // columns)
    page = Canvas(top - TOP + len(HALVES) * below)
    positions, label = run_places(rows)
    if head:
        page.text(MARGIN, 0.07, f"head {head}", fontsize=11, weight="bold")
    for half, (title, draw) in enumerate(HALVES.items()):
        first = top + half * below
        page.text(MARGIN, first - TOP + 0.07, title, fontsize=10, weight="bold")
        axes = page.panel(LEFT, first, WIDTH, HEIGHT)
        draw(axes, positions, rows, modalities)
        _finish(axes, label, columns)
    caption = f"{label} {positions[-1]:g}{of_all(rows, all_rows)}"
    return page.picture("shares", f"head {head}, {caption}" if head else caption, note=NOTE)


def shown_runs(rows: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """Return the runs that curves show: all, or ``MOST_RUNS`` evenly spaced runs if there are more."""
    return rows if len(rows) <= MOST_RUNS else [rows[place] for place in spread_places(len(rows), MOST_RUNS)]


def spread_places(count: int, most: int) -> list[int]:
    """Return the indices 0 to ``count - 1``, or ``most`` evenly spaced indices if there are more."""
    return [round(place) for place in np.linspace(0, count - 1, min(count, most))]


def of_all(shown: Sequence[RunRecord], rows: Sequence[RunRecord]) -> str:
    """Return the end of a caption: how many of all runs are shown; ``""`` if all are shown."""
    return f"; {len(shown):,} of {len(rows):,} runs are shown" if len(shown) < len(rows) else ""


def _finish(axes: "Axes", label: str, columns: int) -> None:
    """Draw what both halves have: ticks, a grid, and a legend off the curves."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # room for 4 digits; R2 may have more at the beginning
    axes.set_xlabel(label, labelpad=1, fontsize=9)
    axes.set_ylabel(axes.get_ylabel(), fontsize=9, labelpad=2)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#444444")
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.36 / HEIGHT)}
    axes.legend(ncols=columns, frameon=False, fontsize=8.5, **place)


def run_places(rows: Sequence[RunRecord]) -> tuple[list[float], str]:
    """Return the positions of runs on the x-axis: epochs, or steps if an epoch has several runs."""
    epochs = [float(row.epoch) for row in rows]
    return (epochs, "epoch") if len(set(epochs)) == len(epochs) else ([float(row.step) for row in rows], "step")


def series_of(rows: Sequence[RunRecord], name: str) -> Any:
    """Return ``(N,)``: a value of every run, at most ``LARGEST`` in size; NaN for a run without this value."""
    return np.array([row.values.get(name, np.nan) for row in rows]).clip(-LARGEST, LARGEST)


def _draw_stack(axes: "Axes", positions: list[float], rows: Sequence[RunRecord], modalities: Sequence[str]) -> None:
    """Stack the interaction and the first-order shares; a whisker is the interval of the band below it."""
    bands = [("interaction", "interaction", INTERACTION)]
    bands += [(f"{legible(name)} alone", f"contribution/{name}", colour) for name, colour in coloured(modalities)]
    floor = np.zeros(len(rows))
    for label, name, colour in bands:
        share = series_of(rows, name)
        height = share.clip(min=0)
        axes.fill_between(positions, floor, floor + height, color=colour, alpha=0.75, linewidth=0, label=label)
        _draw_whiskers(axes, positions, floor, [series_of(rows, bound_name(name, side)) for side in SIDES])
        if len(rows) == 1:
            axes.bar(positions, height, bottom=floor, color=colour, alpha=0.75, width=0.5)
        floor = floor + height
    of = "own answers' log p" if answer_keys(rows) else "outputs'"
    axes.set(ylim=(0, 1.02), ylabel=f"share of the {of} variance")


def _draw_whiskers(axes: "Axes", positions: list[float], floor: Any, bounds: list[Any]) -> None:
    low, high = ((floor + bound).clip(0, 1) for bound in bounds)
    shown = spread_places(len(positions), MOST_WHISKERS)
    axes.vlines(np.array(positions)[shown], low[shown], high[shown], color="black", alpha=0.6, linewidth=1.2)


def _draw_totals(axes: "Axes", positions: list[float], rows: Sequence[RunRecord], modalities: Sequence[str]) -> None:
    for name, colour in coloured(modalities):
        key, label = f"total/{name}", f"{legible(name)} total"
        low, high = (series_of(rows, bound_name(key, side)) for side in SIDES)
        axes.fill_between(positions, low, high, color=colour, alpha=0.2, linewidth=0)
        shown = spread_places(len(positions), MOST_WHISKERS)
        axes.vlines(np.array(positions)[shown], low[shown], high[shown], color=colour, alpha=0.5, linewidth=1.2)
        line: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3.5, "markevery": shown}
        axes.plot(positions, series_of(rows, key), label=label, **line)
    _draw_states(axes, positions, rows, modalities)
    if any("score" in row.values for row in rows):
        axes.plot(positions, series_of(rows, "score"), label="score", **_dotted(positions))
    for key in answer_keys(rows):
        label = f"{legible(key.partition('/')[2])} retrieval"
        axes.plot(positions, series_of(rows, key), label=label, **_dotted(positions))
    axes.set_ylabel("share of variance; retrieval" if answer_keys(rows) else "share of variance; score")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(1.02, axes.get_ylim()[1]))


def _dotted(positions: list[float]) -> dict[str, Any]:
    """Return the style of scores: a dotted line with a marker where whiskers are."""
    shown = spread_places(len(positions), MOST_WHISKERS)
    return {"color": "black", "linestyle": ":", "marker": ".", "markevery": shown}


def answer_keys(rows: Sequence[RunRecord]) -> list[str]:
    """Return the keys of the retrieval of own answers; an empty list for other outputs."""
    keys = dict.fromkeys(key for row in rows for key in row.values)
    return [key for key in keys if key.startswith("retrieval/")]


def _draw_states(axes: "Axes", positions: list[float], rows: Sequence[RunRecord], modalities: Sequence[str]) -> None:
    """Mark the runs at which a modality was not used."""
    for state, marker in marked_states(rows, modalities).items():
        label = state.name.lower()
        for name, colour in coloured(modalities):
            found = series_of(rows, f"collapse/{name}") == state
            if found.any():
                places = np.array(positions)[found], series_of(rows, f"total/{name}")[found]
                style: dict[str, Any] = {"marker": marker, "markersize": 9, "markeredgecolor": "black", "linestyle": ""}
                axes.plot(*places, color=colour if state is State.COLLAPSED else "white", label=label, **style)
                label = ""


def marked_states(rows: Sequence[RunRecord], modalities: Sequence[str]) -> dict[State, str]:
    """Return state -> marker, for the states that occur."""
    found = {row.values.get(f"collapse/{name}") for row in rows for name in modalities}
    return {state: marker for state, marker in NOT_USED.items() if state in found}


def coloured(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """Return the modalities with their colours."""
    return [(name, COLOURS[position % len(COLOURS)]) for position, name in enumerate(modalities)]


HALVES = {
    "What the prediction is made of (bars: 95 %)": _draw_stack,
    "What would be lost without a modality (95 %)": _draw_totals,
}
"""Title -> function that draws the half of the picture below it."""
