"""A sparse linear model of the model's predictions as pictures and tables: its weights, and features of examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.multimodal_prediction.result import ACTIVATED, ExampleFeatures, PredictionResult
from mviz_lightning.explainers.multimodal_prediction.thumbnails import Stamps
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.plotting.canvas import Canvas, title_lines, wrapped
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.panels import LINE, MARGIN
from mviz_lightning.sinks.records import MarkdownText, Picture, Pixels, Record, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RAISES, LOWERS = "#B2182B", "#2166AC"
"""Colours of positive and negative effects: the ends of the colour scale of explanations."""

NAME, GAP = 1.5, 0.12
"""Inches: width of a feature's name, and gap beside the bars."""

BARE, FILLED = 0.34, 0.46
"""Inches: height of a feature's row without inputs, and with them."""

CAPTION = 0.2
"""Inches: height of the caption above the inputs."""

LETTER = 0.062
"""Inches: mean width of a letter in the line above the bars."""

FOOT_LETTERS = 66
"""Largest number of letters of a line below the bars."""

NOTE = (
    "A sparse linear model predicts the model's prediction from the fused features. A bar is what a feature adds here: "
    "its weight times its activation, which is in standard deviations (SD) from the mean."
)
"""How to read the picture of an example."""

POOLED = "Outputs and features"
"""The quantities that are averaged over regions if outputs have positions."""

STAGE_THREE = ("picture of MultimodalRepresentation", "most activating examples")
"""Columns of tables about what activates a feature."""


def prediction_records(result: PredictionResult, key: str, drawing: DrawingContext, when: str) -> Sequence[Record]:
    """Draw the examples, list the weights, and write the fidelity of the sparse model."""
    canvas = Canvas()
    pictures = [example_picture(canvas, found, result, key, drawing, when) for found in result.examples]
    return [
        *pictures,
        *([example_table(result, pictures, key, drawing.labels, when)] if pictures else []),
        weight_table(result, key, drawing.labels, when),
        output_table(result, key, drawing.labels, when),
        MarkdownText(f"{key}/summary", summary(result, drawing.labels, when)),
    ]


def feature_name(feature: int) -> str:
    """Return the name of a feature, with the same number as in pictures of MultimodalRepresentation."""
    return f"feature {feature}"


def summary(result: PredictionResult, labels: Labels, when: str) -> str:
    """Return the number of features with a weight and the fidelity of the sparse model, as text."""
    values = result.values
    used = sorted(result.non_zero.values())
    counts = f"{used[0]} to {used[-1]}" if used and used[0] != used[-1] else str(used[0] if used else 0)
    sparse = (
        f"**{when or 'Sparse linear model'}**: {counts} of {result.features} features have a weight for an output "
        f"({result.constant} are constant); penalty {result.penalty:.3g}, chosen on {result.held_out} held-out "
        "examples."
    )
    lines = [sparse + labels.averaged(POOLED), f"- {_foretold(result, labels)}"]
    if "accuracy" in values:
        measure = "R²" if labels.task == "regression" else "accuracy"
        lines.append(f"- A sparse model of the same features fitted to the labels: {measure} {values['accuracy']:.3f}.")
    return "\n".join(lines)


def _foretold(result: PredictionResult, labels: Labels) -> str:
    fidelity, baseline = (result.values[name] for name in ("fidelity", "fidelity_baseline"))
    if labels.task == "regression":
        constant = fixed(baseline, 3)
        return f"It predicts the model's held-out values with R² {fixed(fidelity, 3)} (a constant: {constant})."
    return (
        f"It predicts {100 * fidelity:.0f} % of the model's held-out predictions (the most frequent one: "
        f"{100 * baseline:.0f} %)."
    )


# -- One example -----------------------------------------------------------------------------------------------------


def example_picture(
    canvas: Canvas, found: ExampleFeatures, result: PredictionResult, key: str, drawing: DrawingContext, when: str
) -> Picture:
    """Draw weight x activation of an example's strongest features, and the examples that activate these most."""
    labels, stamps = drawing.labels, Stamps.of(drawing, ACTIVATED)
    said = labels.title(found, when)
    title, foot = title_lines(said), wrapped(_foretold(result, labels) + _verdict(found), FOOT_LETTERS)
    lead = wrapped(_lead(found, result, labels), int((stamps.left - 2 * MARGIN) / LETTER))
    first, row = 0.1 + LINE * len(title), FILLED if stamps.modality_types else BARE
    top = first + max(0.16 * len(lead) + 0.1, FILLED + CAPTION if stamps.modality_types else 0.0)
    height = row * max(1, len(found.effects))
    canvas.begin(top + height + 0.5 + 0.16 * len(foot))
    canvas.title(title)
    canvas.text(MARGIN, first, "\n".join(lead), fontsize=8.5, color="#222222")
    _draw_names(canvas, top, row, found)
    bars = canvas.panel(MARGIN + NAME, top, stamps.left - MARGIN - NAME - GAP, height, "bars")
    _draw_bars(bars, found, labels)
    if stamps.modality_types:
        stamps.draw(canvas, first, FILLED, [found.example])
        _draw_activating(canvas, stamps, top, found, result)
    canvas.text(MARGIN, canvas.height - 0.08 - 0.16 * len(foot), "\n".join(foot), fontsize=8, color="#555555")
    return canvas.picture(f"{key}/example_{found.position}", said, keep=True, note=NOTE + labels.averaged(POOLED))


def _lead(found: ExampleFeatures, result: PredictionResult, labels: Labels) -> str:
    output = labels.output(found.output)
    if found.output not in result.non_zero:
        return f"The predictions that were fitted say {output} always or never: it takes no feature."
    used = result.non_zero[found.output]
    return f"A sparse linear model predicts {output} from {used} of {result.features} features; the strongest here:"


def _verdict(found: ExampleFeatures) -> str:
    if found.agrees is None:
        return ""
    return " Here it predicts the same." if found.agrees else " Here it predicts something else."


def _draw_activating(
    canvas: Canvas, stamps: Stamps, top: float, found: ExampleFeatures, result: PredictionResult
) -> None:
    """Draw, beside every feature, the examples that activate it most."""
    caption = "most activating examples:" if found.effects else ""
    canvas.text(stamps.left, top - CAPTION + 0.01, caption, fontsize=8, color="#555555")
    for place, effect in enumerate(found.effects):
        examples = [strong.example for strong in result.activating[effect.feature]]
        stamps.draw(canvas, top + place * FILLED, FILLED, examples)


def _draw_names(canvas: Canvas, top: float, row: float, found: ExampleFeatures) -> None:
    for place, effect in enumerate(found.effects):
        middle = top + (place + 0.5) * row
        canvas.text(MARGIN, middle - 0.07, feature_name(effect.feature), fontsize=8.5, weight="bold", va="center")
        words = f"{effect.weight:+.2g} x {effect.activation:+.2f} = {effect.effect:+.2g}"
        canvas.text(MARGIN, middle + 0.08, words, fontsize=8, va="center")
    if not found.effects:
        canvas.text(MARGIN, top + row / 2, "no feature", fontsize=8.5, va="center")


def _draw_bars(axes: "Axes", found: ExampleFeatures, labels: Labels) -> None:
    from matplotlib.ticker import MaxNLocator

    effects = [effect.effect for effect in found.effects]
    axes.barh(range(len(effects)), effects, color=[RAISES if effect > 0 else LOWERS for effect in effects], height=0.72)
    axes.axvline(0, color="#444444", linewidth=0.8)
    limit = max(map(abs, effects), default=0.0) or 1.0
    axes.set_xlim(-1.08 * limit, 1.08 * limit)
    axes.set_ylim(max(1, len(effects)) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(axis="x", labelsize=8)
    scale = "SD of the value" if labels.task == "regression" else "logit"
    axes.set_xlabel(f"weight x activation ({scale})", fontsize=8, labelpad=1)


# -- Tables ----------------------------------------------------------------------------------------------------------


def stage_three(result: PredictionResult, feature: int) -> list[str]:
    """Return the name of a feature's picture (``""`` without one), and the examples that activate it most."""
    positions = ", ".join(str(strong.position) for strong in result.activating[feature])
    return [result.pictures.get(feature, ""), positions]


def example_table(result: PredictionResult, pictures: Sequence[Picture], key: str, labels: Labels, when: str) -> Table:
    """List the strongest features of every example."""
    columns = ["when", "example", *labels.region_column, "picture", "predicted", "target", "output", "feature"]
    columns += ["weight", "activation", "weight x activation"]
    rows: list[list[str | float | Pixels]] = [
        [
            when,
            found.position,
            *labels.region_cell(found.example),
            picture.pixels,
            labels.outcome(found.predicted),
            labels.outcome(found.target),
            labels.output(found.output),
            feature_name(effect.feature),
            effect.weight,
            effect.activation,
            effect.effect,
            *stage_three(result, effect.feature),
        ]
        for found, picture in zip(result.examples, pictures, strict=True)
        for effect in found.effects
    ]
    return Table(f"{key}/examples", [*columns, *STAGE_THREE], rows)


def weight_table(result: PredictionResult, key: str, labels: Labels, when: str) -> Table:
    """List the strongest weights."""
    rows: list[list[str | float]] = [
        [when, feature_name(feature), labels.output(output), weight, *stage_three(result, feature)]
        for feature, output, weight in result.weights
    ]
    return Table(f"{key}/weights", ["when", "feature", "output", "weight", *STAGE_THREE], rows)


def output_table(result: PredictionResult, key: str, labels: Labels, when: str) -> Table:
    """List the number of weights of every output."""
    rows: list[list[str | float]] = [
        [when, labels.output(output), count, result.features] for output, count in result.non_zero.items()
    ]
    return Table(f"{key}/outputs", ["when", "output", "non-zero weights", "features"], rows)
