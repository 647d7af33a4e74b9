"""Total effects within classes and subgroups as a picture: a row for each, a dot for each modality."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mviz_lightning.explainers.contribution_shares.subset_keys import (
    KINDS,
    SIDES,
    SubsetKind,
    subsets_named,
    total_name,
)
from mviz_lightning.plotting.canvas import WIDTH, Canvas, title_lines, wrapped
from mviz_lightning.plotting.panels import COLOURS, LINE, MARGIN
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.plotting.text_fitting import shortened
from mviz_lightning.sinks.records import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 24
"""Largest number of rows. Of more subsets, half of the rows show the largest effects of the first modality, half the
smallest."""

ROW, NAMES, LETTERS = 0.24, 1.45, 21
"""Height of a row of two modalities and width of its name, in inches; number of letters that fit into this width."""

DOT = 0.1
"""Inches between the dots of two modalities in a row."""

MARKERS = "osD^vPX"
"""Marker of each modality, so that the dots also differ in greyscale."""

UNIT = "0: not used, 1: same effect as swapping all modalities"
"""Unit of the dots, in the picture."""

NOTE = "0: not used. 1: swapping it alone changes the outputs as much as swapping everything. Bars: 95 % intervals."
"""How to read the dots."""

Row = tuple[str, Sequence[Sequence[float]]]
"""Name of a subset, and value, low and high of every modality."""


def subset_pictures(values: Mapping[str, float], modalities: Sequence[str], when: str) -> list[Picture]:
    """Draw the total effects within classes and within subgroups; return no picture for a kind without values.

    Args:
        values: Values of one run, by name without prefix.
        modalities: Names, in declared order.
        when: Moment of the training in words; empty outside a training.
    """
    found = {kind: _rows(values, modalities, kind) for kind in KINDS}
    return [_picture(kind, rows, modalities, when) for kind, rows in found.items() if rows]


def _rows(values: Mapping[str, float], modalities: Sequence[str], kind: SubsetKind) -> list[Row]:
    """Return the subsets in the order of the first modality's total effect, the largest first."""
    nan = float("nan")
    rows: list[Row] = [
        (subset, [[values.get(total_name(kind, subset, name, side), nan) for side in SIDES] for name in modalities])
        for subset in subsets_named(values, kind)
    ]
    return sorted(rows, key=lambda row: -row[1][0][0])


def _picture(kind: SubsetKind, rows: Sequence[Row], modalities: Sequence[str], when: str) -> Picture:
    shown, said = rows, f"Total effect by {kind}{when and ', ' + when}"
    told, title = [UNIT], title_lines(said)
    if len(rows) > SHOWN:
        shown = [*rows[: SHOWN // 2], *rows[-SHOWN // 2 :]]
        told += wrapped(
            f"Of {len(rows)}, {SHOWN // 2} with the largest and the smallest effect of {modalities[0]}.", 66
        )
    first = 0.1 + LINE * len(title)
    top, step = first + LINE * len(told) + 0.1, ROW + DOT * max(0, len(modalities) - 2)
    columns = max(1, min(len(modalities), int((WIDTH - 2 * MARGIN) / (0.5 + 0.075 * max(map(len, modalities))))))
    canvas = Canvas(top + step * len(shown) + 0.4 + LINE * -(-len(modalities) // columns))
    canvas.title(title)
    canvas.text(MARGIN, first, "\n".join(told), fontsize=8.5)
    axes = canvas.panel(MARGIN + NAMES, top, WIDTH - MARGIN - NAMES - 0.2, step * len(shown))
    for place, (name, _) in enumerate(shown):
        canvas.text(MARGIN, top + (place + 0.5) * step, shortened(name, LETTERS), fontsize=8.5, va="center")
    _draw(axes, shown, modalities, step)
    _add_legend(canvas, axes, columns)
    return canvas.picture(f"by_{kind}", said, note=NOTE)


def _draw(axes: "Axes", rows: Sequence[Row], modalities: Sequence[str], step: float) -> None:
    for number, modality in enumerate(modalities):
        offset = (number - (len(modalities) - 1) / 2) * DOT / step
        _draw_dots(axes, [row[number] for _, row in rows], offset, modality, number)
    _finish(axes, len(rows))


def _draw_dots(axes: "Axes", bounds: Sequence[Sequence[float]], offset: float, modality: str, number: int) -> None:
    value, low, high = zip(*bounds, strict=True)
    places, colour = [place + offset for place in range(len(bounds))], COLOURS[number % len(COLOURS)]
    axes.hlines(places, low, high, color=colour, linewidth=1.8, alpha=0.75)
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(value, places, color=colour, marker=marker, markersize=5.5, linestyle="", label=legible(modality))


def _finish(axes: "Axes", rows: int) -> None:
    """Draw lines between the rows, a line at 0, and ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(rows - 0.5, -0.5)
    low, high = axes.get_xlim()
    axes.set_xlim(min(-0.02, low), max(1.02, high))
    axes.hlines([place - 0.5 for place in range(1, rows)], *axes.get_xlim(), color="#e8e8e8", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#444444", linewidth=0.8, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(axis="x", labelsize=8)


def _add_legend(canvas: Canvas, axes: "Axes", columns: int) -> None:
    below: dict[str, Any] = {"bbox_to_anchor": (0.5, 0.0), "bbox_transform": canvas.figure.transFigure}
    axes.legend(ncols=columns, frameon=False, fontsize=8.5, loc="lower center", **below)
