"""One example over the training: its maps at several times, and the curves of UC and MI."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mviz_lightning.explainers.dime.figure import largest
from mviz_lightning.explainers.dime.result import Attribution, Moment
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.modalities import ModalityType
from mviz_lightning.plotting.canvas import WIDTH, Canvas, diverging, title_lines
from mviz_lightning.plotting.panels import COLOURS, LINE, MARGIN, SCALE
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.plotting.text_fitting import distinct
from mviz_lightning.plotting.trust import shown
from mviz_lightning.sinks.records import Picture

MOMENTS = 5
"""Largest number of maps in a strip; the curves have all times."""

LISTED = 10
"""Largest number of segments listed by name."""

LABEL, STRIP_GAP, CURVE = 0.62, 0.05, 1.5
"""In inches: space for the name before a strip, gap between maps, height of the curves."""

LETTERS = 17
"""Largest number of letters of a segment's name."""

SIDES = (("UC", "unimodal"), ("MI", "interaction"))


def picture_over_epochs(moments: Sequence[Moment], drawing: DrawingContext, key: str) -> Picture:
    """Draw how one example's explanation changed.

    Args:
        moments: Its explanations, in order.
        drawing: Modality types, labels and canvas.
        key: Key of the picture.
    """
    first, last = moments[0], moments[-1]
    example, kept = first.explanation.example, thinned(moments)
    strips = {
        name: _height(modality_type, example, kept, inputs=drawing.show_inputs)
        for name, modality_type in drawing.modality_types.items()
    }
    names = dict.fromkeys(drawing.labels.output(moment.output.output) for moment in moments)
    region = drawing.labels.where(example)
    shown = drawing.labels.example(first.explanation.position) + (f"{region}," if region else "")
    title = title_lines(
        f"{shown} from {first.label} to {last.label}: what drives {' / '.join(names)}, alone (UC) and together (MI)"
    )
    canvas = drawing.canvas
    canvas.begin(0.1 + len(title) * LINE + sum(strips.values()) + len(strips) * 2 * LINE + CURVE + 0.75)
    canvas.title(title)
    top = 0.1 + len(title) * LINE
    for name, height in strips.items():
        canvas.text(MARGIN, top, name, fontsize=9.5, weight="bold")
        draw = _draw_thumbnails if drawing.modality_types[name].thumbnail else _draw_matrices
        draw(canvas, top + LINE + 0.03, name, kept, drawing)
        top += height + 2 * LINE
    _draw_curves(canvas, top + 0.15, moments)
    return canvas.picture(key, f"from {first.label} to {last.label}")


def thinned(moments: Sequence[Moment]) -> Sequence[Moment]:
    """Return as many moments as fit into a strip, including the first and the last."""
    places = np.linspace(0, len(moments) - 1, min(MOMENTS, len(moments))).round().astype(int)
    return [moments[place] for place in places]


def _width(kept: Sequence[Moment]) -> float:
    """Return the width of a map."""
    return min(1.2, (WIDTH - 2 * MARGIN - LABEL - SCALE) / len(kept) - STRIP_GAP)


def _listed(parts: Sequence[Attribution]) -> list[int]:
    """Return the segments that were ever the strongest, in their own order."""
    strength = np.max([np.maximum(part.unimodal.abs().numpy(), part.interaction.abs().numpy()) for part in parts], 0)
    return sorted(np.argsort(-strength, kind="stable")[:LISTED].tolist())


def _height(modality_type: ModalityType, example: int, kept: Sequence[Moment], *, inputs: bool) -> float:
    if modality_type.thumbnail:
        return 2 * (_width(kept) * modality_type.aspect(example, inputs=inputs) + STRIP_GAP) + LINE
    return max(1, min(LISTED, modality_type.segments.count(example))) * 0.17 + 2 * LINE


def _draw_thumbnails(canvas: Canvas, top: float, name: str, kept: Sequence[Moment], drawing: DrawingContext) -> None:
    """Draw a row of maps for UC and one for MI."""
    modality_type, width = drawing.modality_types[name], _width(kept)
    parts = [moment.output.parts[name] for moment in kept]
    example, colours = kept[0].explanation.example, diverging(largest(*parts))
    height = width * modality_type.aspect(example, inputs=drawing.show_inputs)
    for row, (label, side) in enumerate(SIDES):
        below = top + row * (height + STRIP_GAP)
        canvas.text(MARGIN + LABEL / 2, below + height / 2, label, ha="center", va="center")
        for column, part in enumerate(parts):
            panel = canvas.panel(_left(column, width), below, width, height, "epochs map")
            weights = shown(getattr(part, side), getattr(part, f"{side}_r2"))
            modality_type.paint(panel, example, weights, colours, inputs=drawing.show_inputs)
    for column, moment in enumerate(kept):
        place = _left(column, width) + width / 2
        canvas.text(place, top + 2 * (height + STRIP_GAP), moment.label, ha="center", fontsize=8)
    if largest(*parts):
        canvas.scale(_left(len(kept), width), top, 2 * height + STRIP_GAP, colours)
    else:
        canvas.text(_left(len(kept), width), top + height, "no effect", fontsize=8.5, color="#555555", va="center")


def _left(column: int, width: float) -> float:
    return MARGIN + LABEL + column * (width + STRIP_GAP)


def _draw_matrices(canvas: Canvas, top: float, name: str, kept: Sequence[Moment], drawing: DrawingContext) -> None:
    """List segments by name, with a column for each moment; UC is on the left, MI on the right."""
    parts, example = [moment.output.parts[name] for moment in kept], kept[0].explanation.example
    segments, colours = _listed(parts), diverging(largest(*parts))
    if not segments:
        canvas.text(MARGIN + LABEL, top, "no segments")
        return
    names = drawing.modality_types[name].names(example, inputs=drawing.show_inputs)
    left, height = MARGIN + 1.3, len(segments) * 0.17
    width = (WIDTH - left - MARGIN - SCALE - 0.15) / 2
    for half, (label, side) in enumerate(SIDES):
        weights = [shown(getattr(part, side), getattr(part, f"{side}_r2"))[segments] for part in parts]
        panel = canvas.panel(left + half * (width + 0.1), top + LINE, width, height, f"epochs matrix {label}")
        panel.imshow(colours.to_rgba(np.stack(weights, 1)), aspect="auto", interpolation="nearest")
        ticks = [moment.label.removeprefix("epoch ") for moment in kept]
        panel.set_xticks(range(len(kept)), ticks, fontsize=8)
        panel.tick_params(length=0, pad=2)
        canvas.text(left + half * (width + 0.1) + width / 2, top, label, ha="center")
        if not half:
            listed = distinct([legible(names[segment]) for segment in segments], LETTERS)
            panel.set_yticks(range(len(segments)), listed, fontsize=8, parse_math=False)
    if largest(*parts):
        canvas.scale(left + 2 * width + 0.15, top + LINE, height, colours)
    else:
        canvas.text(left + 2 * width + 0.15, top + LINE, "no\neffect", fontsize=8.5, color="#555555")


def _draw_curves(canvas: Canvas, top: float, moments: Sequence[Moment]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = canvas.panel(MARGIN + LABEL, top, WIDTH - 2 * MARGIN - LABEL - 1.1, CURVE, "epochs curves")
    places = [moment.place for moment in moments]
    curves: list[tuple[str, str, dict[str, Any]]] = [
        ("UC", "unimodal", {"color": COLOURS[0], "marker": "o"}),
        ("MI", "interaction", {"color": COLOURS[5], "marker": "s"}),
        ("sum", "value", {"color": "black", "linestyle": ":", "marker": "."}),
    ]
    for label, attribute, style in curves:
        axes.plot(places, [getattr(m.output, attribute) for m in moments], label=label, markersize=4, **style)
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xticks(places[:: -(-len(places) // 7)])
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8, length=2)
    axes.set_xlabel(moments[0].label.rpartition(" ")[0], fontsize=8.5, labelpad=2)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
