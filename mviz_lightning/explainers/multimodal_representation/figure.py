"""Fused features as pictures: one of all features, and one of each shown feature with its strongest examples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.multimodal_representation.concepts import Concept
from mviz_lightning.explainers.multimodal_representation.overview import (
    colours_of,
    kind_name,
    overview,
    overview_title,
    share_names_of,
)
from mviz_lightning.explainers.multimodal_representation.result import Feature, Representation
from mviz_lightning.functional.numerals import fixed, is_rounding
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.text import Text
from mviz_lightning.plotting.canvas import WIDTH, Canvas, diverging, title_lines, wrapped
from mviz_lightning.plotting.panels import GAP, LINE, MARGIN, PANEL
from mviz_lightning.plotting.system_fonts import FONT_FAMILY
from mviz_lightning.plotting.text_fitting import FONT_SIZE, shortened
from mviz_lightning.sinks.records import Picture, Pixels, Record, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = WIDTH - 2 * MARGIN
LETTERS = 64
"""Largest number of letters of a line across the picture."""

BAR = 0.24
"""Inches: height of the bar of shares."""

LEGEND_ACROSS = 2
ACROSS, LARGE_ACROSS = 5, 3
"""Number of panels side by side: for inputs that are legible as thumbnails, and for other inputs."""

MAPS_ACROSS = 3
"""Number of maps of one example side by side."""

NOTE = (
    "Bar: shares of the feature's variance that each modality explains alone, and the share of the interaction. Among "
    "the strongest: words, classes and values that are more frequent among the strongest 10 % of the examples than "
    "among all. Maps: what each part adds to the feature in its strongest example. Red raises it, blue lowers it."
)
"""How to read a feature's picture."""

TALLEST = 1.6
"""Largest height of a panel, as a multiple of its width."""


def representation_records(result: Representation, key: str, drawing: DrawingContext, when: str) -> Sequence[Record]:
    """Draw one picture of all features and one of each shown feature, and list the shown features."""
    canvas = Canvas()
    pictures = [_picture(canvas, result, feature, key, drawing, when) for feature in result.shown]
    table = [_table(result, pictures, key, drawing, when)] if pictures else []
    title = overview_title(result, when) + (", in the regions of the examples" if drawing.regions else "")
    return [overview(result, key, title), *pictures, *table]


# -- One feature -----------------------------------------------------------------------------------------------------


def _picture(
    canvas: Canvas, result: Representation, feature: Feature, key: str, drawing: DrawingContext, when: str
) -> Picture:
    """Draw one feature: its shares, its concepts, and the examples that activate it most."""
    moment = f", {when}" if when else ""
    headline = f"Feature {feature.number}{moment}: {kind_name(result, feature.kind)}"
    title = title_lines(headline)
    common = wrapped(f"Among the strongest: {_concepts(feature.concepts, drawing)}", 68)
    top = wrapped(_caption(result, feature, drawing), 68)
    blocks = _blocks(feature, drawing) if drawing.show_inputs else {}
    fixed = (
        0.1
        + LINE * len(title)
        + 0.05
        + BAR
        + 0.05
        + _legend_rows(result) * LINE
        + 0.04
        + len(common) * 0.17
        + 0.06
        + LINE * len(top)
    )
    canvas.begin(fixed + sum(blocks.values()) + (0 if blocks else 2 * LINE) + _parts_height(feature, drawing) + 0.1)
    canvas.title(title)
    place = _draw_head(canvas, 0.1 + LINE * len(title) + 0.05, result, feature, common, top)
    for name, height in blocks.items():
        _draw_inputs(canvas, place, name, feature, drawing)
        place += height
    if not blocks:
        canvas.text(MARGIN, place, _listed(feature), fontsize=8.5, linespacing=1.3)
        place += 2 * LINE
    _draw_parts(canvas, place, feature, drawing)
    return canvas.picture(f"{key}/feature_{feature.number}", headline, keep=True, note=NOTE)


def _draw_head(
    canvas: Canvas,
    place: float,
    result: Representation,
    feature: Feature,
    common: Sequence[str],
    top: Sequence[str],
) -> float:
    """Draw the shares and the concepts of a feature below ``place``; return their lower edge, in inches."""
    _draw_bar(canvas.panel(MARGIN, place, ROOM, BAR, "shares"), feature.shares, colours_of(result))
    place += BAR + 0.05
    _draw_legend(canvas, place, result, feature)
    place += _legend_rows(result) * LINE + 0.04
    canvas.text(MARGIN, place, "\n".join(common), fontsize=8.5, linespacing=1.15)
    place += len(common) * 0.17 + 0.06
    canvas.text(MARGIN, place, "\n".join(top), fontsize=8.5, color="#222222", linespacing=1.15)
    place += LINE * len(top)
    return place


def _caption(result: Representation, feature: Feature, drawing: DrawingContext) -> str:
    if not feature.examples:
        return f"The feature has the same value in all {result.total} examples."
    same = "" if feature.overlap is None else f"; overlap with the last time {feature.overlap:.2f}"
    where = " on average over their region" if drawing.regions else ""
    return f"The {len(feature.examples)} of {result.total} examples that activate it most{where}{same}:"


def _concepts(concepts: Sequence[Concept], drawing: DrawingContext) -> str:
    """Return the concepts in words; if inputs are hidden, only classes, which other pictures show anyway."""
    seen = [found for found in concepts if drawing.show_inputs or found.trait.kind == "class"]
    hidden = len(concepts) - len(seen)
    words = [
        f"{_trait(found, drawing)} in {found.hits} of {found.drawn} (of all: {found.having} of {found.total})"
        for found in seen
    ]
    return "; ".join([*words, *([f"{hidden} not shown"] if hidden else [])]) or "none stands out"


def _trait(concept: Concept, drawing: DrawingContext) -> str:
    trait = concept.trait
    if trait.kind == "word":
        return f"'{trait.value}'"
    if trait.kind == "class":
        return f"target {drawing.labels.outcome(int(trait.value))}"
    return f"{trait.source} = {trait.value}"


def _draw_bar(axes: "Axes", shares: Sequence[float], colours: Sequence[str]) -> None:
    """Draw the shares as one stacked bar; negative estimates count as 0."""
    lengths = [max(share, 0.0) for share in shares]
    whole, left = sum(lengths) or 1.0, 0.0
    for length, colour in zip(lengths, colours, strict=True):
        axes.barh(0, length / whole, left=left, height=1, color=colour, linewidth=0)
        left += length / whole
    axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))


def _legend_rows(result: Representation) -> int:
    return -(-(len(result.modalities) + 1) // LEGEND_ACROSS)


def _draw_legend(canvas: Canvas, top: float, result: Representation, feature: Feature) -> None:
    """Write the name, value and 95 % interval of each share, after a square in its colour."""
    width = ROOM / LEGEND_ACROSS
    for k, (name, colour) in enumerate(zip(share_names_of(result), colours_of(result), strict=True)):
        left, place = MARGIN + k % LEGEND_ACROSS * width, top + k // LEGEND_ACROSS * LINE
        share, low, high = (fixed(number, 2) for number in (feature.shares[k], feature.low[k], feature.high[k]))
        canvas.text(left, place, "■", color=colour, fontsize=10)
        canvas.text(left + 0.15, place, f"{shortened(name, 16)} {share} [{low}, {high}]", fontsize=8)


# -- Strongest examples of a feature ---------------------------------------------------------------------------------


def _blocks(feature: Feature, drawing: DrawingContext) -> Mapping[str, float]:
    """Return the height that the inputs of every modality take, in inches."""
    found: dict[str, float] = {}
    if not feature.examples:
        return found
    for name, modality_type in drawing.modality_types.items():
        if isinstance(modality_type, Text):
            found[name] = LINE + 0.14 * len(feature.examples) + 0.06
        else:
            rows = -(-len(feature.examples) // _across(modality_type))
            found[name] = LINE + rows * (_panel_height(modality_type, feature) + 2 * LINE - 0.02)
    return found


def _across(modality_type: ModalityType) -> int:
    return ACROSS if modality_type.thumbnail else LARGE_ACROSS


def _panel_width(modality_type: ModalityType) -> float:
    return (ROOM - (_across(modality_type) - 1) * GAP) / _across(modality_type)


def _panel_height(modality_type: ModalityType, feature: Feature) -> float:
    tallest = max(modality_type.aspect(strong.example) for strong in feature.examples)
    return _panel_width(modality_type) * min(tallest, TALLEST)


def _draw_inputs(canvas: Canvas, top: float, name: str, feature: Feature, drawing: DrawingContext) -> None:
    modality_type = drawing.modality_types[name]
    canvas.text(MARGIN, top, name, fontsize=8.5, weight="bold", color="#444444")
    top += LINE
    if isinstance(modality_type, Text):
        lines = [
            _line(modality_type, strong.example, strong.position, strong.activation) for strong in feature.examples
        ]
        canvas.text(MARGIN, top, "\n".join(lines), family=FONT_FAMILY, fontsize=FONT_SIZE, linespacing=1.2)
        return
    width, height, across = _panel_width(modality_type), _panel_height(modality_type, feature), _across(modality_type)
    for k, strong in enumerate(feature.examples):
        left = MARGIN + (k % across) * (width + GAP)
        place = top + k // across * (height + 2 * LINE - 0.02)
        drawing.draw_input(canvas.panel(left, place, width, height, f"{name} input"), name, strong.example)
        label = "" if strong.target is None else f"\n{shortened(_target(strong.target, drawing), 13)}"
        words = f"#{strong.position}: {strong.activation:.3g}{label}"
        canvas.text(left + width / 2, place + height + 0.02, words, ha="center", fontsize=8, linespacing=1.1)


def _target(target: Any, drawing: DrawingContext) -> str:
    """Return a target as text; before a number stands the word "target", to distinguish it from the activation."""
    return f"{'target ' if drawing.labels.task == 'regression' else ''}{drawing.labels.outcome(target)}"


# -- Effects of the segments in the strongest example ----------------------------------------------------------------


def _parts_height(feature: Feature, drawing: DrawingContext) -> float:
    rows = -(-len(feature.parts) // MAPS_ACROSS)
    return LINE + 0.06 + rows * (_map_height(feature, drawing) + LINE + 0.06) if rows else 0.0


def _map_height(feature: Feature, drawing: DrawingContext) -> float:
    example = feature.examples[0].example
    return PANEL * max(
        drawing.modality_types[name].aspect(example, inputs=drawing.show_inputs) for name in feature.parts
    )


def _draw_parts(canvas: Canvas, top: float, feature: Feature, drawing: DrawingContext) -> None:
    """Draw the effect of every segment of the strongest example on the feature; all modalities have one scale."""
    if not feature.parts:
        return
    strong, height = feature.examples[0], _map_height(feature, drawing)
    largest = max((float(part.abs().max()) for part in feature.parts.values() if len(part)), default=0.0)
    colours = diverging(0.0 if is_rounding(largest, strong.activation) else largest)
    heading = f"Effect of each part on the feature in #{strong.position} (occlusion):"
    canvas.text(MARGIN, top + 0.06, heading, fontsize=8.5)
    for k, (name, part) in enumerate(feature.parts.items()):
        left = MARGIN + k % MAPS_ACROSS * (PANEL + GAP)
        place = top + LINE + 0.06 + k // MAPS_ACROSS * (height + LINE + 0.06)
        modality_type = drawing.modality_types[name]
        tall = PANEL * modality_type.aspect(strong.example, inputs=drawing.show_inputs)
        panel = canvas.panel(left, place, PANEL, tall, f"{name} map")
        modality_type.paint(panel, strong.example, part.numpy(), colours, inputs=drawing.show_inputs)
        canvas.text(left + PANEL / 2, place + tall + 0.02, name, ha="center", fontsize=8.5)
    scale = min(len(feature.parts), MAPS_ACROSS) * (PANEL + GAP)
    canvas.scale(MARGIN + scale, top + LINE + 0.06, min(height, PANEL), colours)


def _line(modality_type: ModalityType, example: int, position: int, activation: float) -> str:
    words = " ".join(modality_type.names(example)) or "(no text)"
    return shortened(f"#{position:<6}{activation:>8.3g}  {words}", LETTERS)


def _listed(feature: Feature) -> str:
    """List the strongest examples as text; used if their inputs may not be shown."""
    numbers = [f"#{strong.position}: {strong.activation:.3g}" for strong in feature.examples]
    return "\n".join(wrapped("   ".join(numbers), 66)[:2])


def _table(result: Representation, pictures: Sequence[Picture], key: str, drawing: DrawingContext, when: str) -> Table:
    """Return a table of the shown features with their pictures."""
    columns = ["when", "feature", "picture", "follows", *share_names_of(result)]
    columns += ["standard deviation", "strongest examples", "among the strongest", "overlap with the last time"]
    rows: list[list[str | float | Pixels]] = [
        [
            when,
            feature.number,
            picture.pixels,
            kind_name(result, feature.kind),
            *feature.shares,
            feature.deviation,
            ", ".join(str(strong.position) for strong in feature.examples),
            _concepts(feature.concepts, drawing),
            "" if feature.overlap is None else f"{feature.overlap:.2f}",
        ]
        for feature, picture in zip(result.shown, pictures, strict=True)
    ]
    return Table(f"{key}/features", columns, rows)
