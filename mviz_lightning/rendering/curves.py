"""Shares over the training as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mviz_lightning.functional import bound_name
from mviz_lightning.records import Image, Pixels, Row, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's palette, told apart with every kind of colour vision."""

INTERACTION = "#999999"
NOT_USED = {State.UNUSED: "o", State.COLLAPSED: "X"}
"""How runs are marked at which a modality was not used."""

SIDES: tuple[Literal["low", "high"], ...] = ("low", "high")


def share_curves(rows: Sequence[Row], modalities: Sequence[str]) -> Image:
    """Draw the shares of every run: stacked contributions, and total effects, each with 95 % intervals.

    Args:
        rows: Runs with values, in order.
        modalities: Names, in declared order.
    """
    from matplotlib.figure import Figure  # plotting is loaded when a picture is drawn, not at import

    figure = Figure(figsize=(9.6, 4.2), dpi=100, layout="constrained")
    stacked, totals = figure.subplots(1, 2)
    positions, label = _positions(rows)
    _draw_stack(stacked, positions, rows, modalities)
    _draw_totals(totals, positions, rows, modalities)
    for axes in (stacked, totals):
        axes.set_xlabel(label)
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(rows) == 1:
            axes.set_xticks(positions)
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
    return Image("shares", pixels(figure), f"{label} {positions[-1]:g}")


def pixels(figure: "Figure") -> Pixels:
    """Rasterise a figure to ``(H, W, 3)`` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # whose methods carry no types
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]


def _positions(rows: Sequence[Row]) -> tuple[list[float], str]:
    """Return where runs stand on the x-axis: epochs, or steps when an epoch has several runs."""
    epochs = [float(row.epoch) for row in rows]
    return (epochs, "epoch") if len(set(epochs)) == len(epochs) else ([float(row.step) for row in rows], "step")


def _series(rows: Sequence[Row], name: str) -> Any:
    return np.array([row.values.get(name, np.nan) for row in rows])


def _draw_stack(axes: "Axes", positions: list[float], rows: Sequence[Row], modalities: Sequence[str]) -> None:
    """Stack the interaction and the first-order shares; a whisker is the interval of the band below it."""
    bands = [("interaction", "interaction", INTERACTION)]
    bands += [(f"{name} alone", f"contribution/{name}", colour) for name, colour in _coloured(modalities)]
    floor = np.zeros(len(rows))
    for label, name, colour in bands:
        share = _series(rows, name)
        height = share.clip(min=0)
        axes.fill_between(positions, floor, floor + height, color=colour, alpha=0.75, linewidth=0, label=label)
        _draw_whiskers(axes, positions, floor, [_series(rows, bound_name(name, side)) for side in SIDES])
        if len(rows) == 1:
            axes.bar(positions, height, bottom=floor, color=colour, alpha=0.75, width=0.5)
        floor = floor + height
    axes.set(
        ylim=(0, 1.02), ylabel="share of the outputs' variance", title="What the prediction is made of (bars: 95 %)"
    )
    _legend_above(axes)


def _draw_whiskers(axes: "Axes", positions: list[float], floor: Any, bounds: list[Any]) -> None:
    low, high = ((floor + bound).clip(0, 1) for bound in bounds)
    axes.vlines(positions, low, high, color="black", alpha=0.6, linewidth=1.2)


def _draw_totals(axes: "Axes", positions: list[float], rows: Sequence[Row], modalities: Sequence[str]) -> None:
    for name, colour in _coloured(modalities):
        key = f"total/{name}"
        low, high = (_series(rows, bound_name(key, side)) for side in SIDES)
        axes.fill_between(positions, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.vlines(positions, low, high, color=colour, alpha=0.5, linewidth=1.2)
        axes.plot(positions, _series(rows, key), color=colour, marker="o", markersize=3.5, label=f"{name} total")
    _draw_states(axes, positions, rows, modalities)
    if any("score" in row.values for row in rows):
        axes.plot(positions, _series(rows, "score"), color="black", linestyle=":", marker=".", label="score")
    axes.set(ylabel="share of variance; score", title="What would be lost without a modality (95 %)")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(1.02, axes.get_ylim()[1]))
    _legend_above(axes)


def _draw_states(axes: "Axes", positions: list[float], rows: Sequence[Row], modalities: Sequence[str]) -> None:
    """Mark the runs at which a modality was not used."""
    for state, marker in NOT_USED.items():
        label = state.name.lower()
        for name, colour in _coloured(modalities):
            found = _series(rows, f"collapse/{name}") == state
            if found.any():
                places = np.array(positions)[found], _series(rows, f"total/{name}")[found]
                style: dict[str, Any] = {"marker": marker, "markersize": 9, "markeredgecolor": "black", "linestyle": ""}
                axes.plot(*places, color=colour if state is State.COLLAPSED else "white", label=label, **style)
                label = ""


def _coloured(modalities: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, COLOURS[position % len(COLOURS)]) for position, name in enumerate(modalities)]


def _legend_above(axes: "Axes") -> None:
    """Keep the legend off the curves."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False, fontsize=8.5)
