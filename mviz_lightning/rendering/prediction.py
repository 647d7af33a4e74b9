"""A sparse linear model of the model's predictions: its weights, and the features that examples are predicted from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mviz_lightning.explainers.prediction import ExampleFeatures, PredictionFinding
from mviz_lightning.records import Image, Record, Table, Text
from mviz_lightning.rendering.canvas import WIDTH, Canvas, wrapped
from mviz_lightning.rendering.findings import records_of
from mviz_lightning.rendering.gallery import LINE, MARGIN, Gallery
from mviz_lightning.rendering.labels import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RAISES, LOWERS = "#B2182B", "#2166AC"
"""Ends of the scale on which explanations are drawn."""

ROW, NAME, WORDS = 0.22, 1.05, 2.15
"""Inches: the height of a feature, its name, its weight and activation."""


@records_of.register
def prediction_records(finding: PredictionFinding, key: str, gallery: Gallery, when: str) -> Sequence[Record]:
    """Draw the examples, list the weights, and say how far the sparse model goes."""
    return [
        *(example_picture(found, finding, key, gallery.labels, when) for found in finding.examples),
        weight_table(finding, key, gallery.labels, when),
        class_table(finding, key, gallery.labels, when),
        Text(f"{key}/summary", summary(finding, gallery.labels, when)),
    ]


def feature_name(feature: int) -> str:
    """Name a feature, as pictures of what activates it do."""
    return f"feature {feature}"


def summary(finding: PredictionFinding, labels: Labels, when: str) -> str:
    """Say how many features foretell how much."""
    values = finding.values
    used = sorted(finding.non_zero.values())
    few = f"{used[0]} to {used[-1]}" if used and used[0] != used[-1] else str(used[0] if used else 0)
    sparse = (
        f"**{when or 'Sparse linear model'}**: {few} of {finding.features} features have a weight for an output "
        f"({finding.constant} are constant); penalty {finding.penalty:.3g}, chosen on {finding.held_out} held-out "
        "examples."
    )
    lines = [sparse, f"- {_foretold(finding, labels)}"]
    if "accuracy" in values:
        measure = "R2" if labels.task == "regression" else "accuracy"
        lines.append(f"- A sparse model of the same features fitted to the labels: {measure} {values['accuracy']:.3f}.")
    return "\n".join(lines)


def _foretold(finding: PredictionFinding, labels: Labels) -> str:
    fidelity, baseline = (finding.values[name] for name in ("fidelity", "fidelity_baseline"))
    if labels.task == "regression":
        return f"It foretells the model's held-out values with R2 {fidelity:.3f} (their mean: {baseline:.3f})."
    return (
        f"It foretells {100 * fidelity:.0f} % of the model's held-out predictions (the most frequent one: "
        f"{100 * baseline:.0f} %)."
    )


def example_picture(found: ExampleFeatures, finding: PredictionFinding, key: str, labels: Labels, when: str) -> Image:
    """Draw weight x activation of an example's strongest features."""
    about, output = found.explanation, labels.output(found.output)
    said = f"Example {about.position}{f', {when}' if when else ''}: {labels.headline(about)}"
    title = wrapped(said, 68)
    lead = wrapped(_lead(found, finding, output), 100)
    footer = wrapped(_foretold(finding, labels) + _verdict(found), 112)
    top = 0.1 + LINE * len(title) + 0.16 * len(lead) + 0.1
    height = ROW * max(1, len(found.effects))
    canvas = Canvas(top + height + 0.5 + 0.15 * len(footer))
    canvas.text(MARGIN, 0.08, "\n".join(title), fontsize=10, weight="bold", linespacing=1.1)
    canvas.text(MARGIN, 0.1 + LINE * len(title), "\n".join(lead), fontsize=8.5, color="#222222")
    _draw_words(canvas, top, found)
    _draw_bars(canvas.panel(MARGIN + NAME, top, WIDTH - 2 * MARGIN - NAME - WORDS, height), found, labels)
    canvas.text(MARGIN, canvas.height - 0.08 - 0.15 * len(footer), "\n".join(footer), fontsize=7.5, color="#555555")
    return Image(f"{key}/example_{about.position}", canvas.pixels(), said, keep=True)


def _lead(found: ExampleFeatures, finding: PredictionFinding, output: str) -> str:
    if found.output not in finding.non_zero:
        return f"{output} is too rare among the predictions: the sparse model does not know it."
    used = finding.non_zero[found.output]
    return f"A sparse linear model predicts {output} from {used} of {finding.features} features; the strongest here:"


def _verdict(found: ExampleFeatures) -> str:
    if found.agrees is None:
        return ""
    return " Here it predicts the same." if found.agrees else " Here it predicts something else."


def _draw_words(canvas: Canvas, top: float, found: ExampleFeatures) -> None:
    for place, effect in enumerate(found.effects):
        middle = top + (place + 0.5) * ROW
        canvas.text(MARGIN, middle, feature_name(effect.feature), fontsize=8.5, va="center")
        words = f"{effect.weight:+.3g} x {effect.activation:+.2f} = {effect.effect:+.3g}"
        canvas.text(WIDTH - MARGIN - WORDS + 0.1, middle, words, fontsize=8.5, va="center")
    if not found.effects:
        canvas.text(MARGIN, top + ROW / 2, "no feature", fontsize=8.5, va="center")


def _draw_bars(axes: "Axes", found: ExampleFeatures, labels: Labels) -> None:
    from matplotlib.ticker import MaxNLocator

    effects = [effect.effect for effect in found.effects]
    axes.barh(range(len(effects)), effects, color=[RAISES if effect > 0 else LOWERS for effect in effects], height=0.72)
    axes.axvline(0, color="#444444", linewidth=0.8)
    limit = max(map(abs, effects), default=0.0) or 1.0
    axes.set_xlim(-1.08 * limit, 1.08 * limit)
    axes.set_ylim(max(1, len(effects)) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="x", labelsize=8)
    scale = "standard deviations of the value" if labels.task == "regression" else "logit of the sparse model"
    axes.set_xlabel(f"weight x standardised activation ({scale})", fontsize=8, labelpad=1)


def weight_table(finding: PredictionFinding, key: str, labels: Labels, when: str) -> Table:
    """List the strongest weights."""
    rows: list[list[str | float]] = [
        [when, feature_name(feature), labels.output(output), weight] for feature, output, weight in finding.weights
    ]
    return Table(f"{key}/weights", ["when", "feature", "output", "weight"], rows)


def class_table(finding: PredictionFinding, key: str, labels: Labels, when: str) -> Table:
    """List how many weights every output has."""
    rows: list[list[str | float]] = [
        [when, labels.output(output), count, finding.features] for output, count in finding.non_zero.items()
    ]
    return Table(f"{key}/outputs", ["when", "output", "non-zero weights", "features"], rows)
