"""The sparse linear model of the predictions as cards: the features with the largest effects on an output."""

from mviz_lightning.explainers.card import MOST_EXAMPLES, OUTPUT_COLUMNS, ExampleDisplay
from mviz_lightning.explainers.multimodal_prediction.result import ExampleFeatures, PredictionResult
from mviz_lightning.functional.numerals import percent
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import Bar, Bars, number_words
from mviz_lightning.plotting.svg import LOWERS, RAISES

MOST_EFFECTS = 12
"""Largest number of drawn effects and weights (the strongest)."""

EFFECT_COLUMNS = (*OUTPUT_COLUMNS, "feature", "weight", "activation", "effect")
WEIGHT_COLUMNS = ("feature", "output", "output_name", "weight")


def _signed(label: str, value: float) -> Bar:
    return Bar(label, value, colour=RAISES if value > 0 else LOWERS)


def features_card(one: ExampleFeatures) -> Card:
    """Return the card of one example: the effect of each feature on the sparse model's output."""
    shown = ExampleDisplay(one)
    name = shown.labels.output(one.output)
    bars = [_signed(f"feature {effect.feature}", effect.effect) for effect in one.effects[:MOST_EFFECTS]]
    verdict = f"{name}: no feature carries it"
    if bars:
        verdict = f"{name}: {bars[0].label} carries it most, {number_words(bars[0].value)}"
    differs = ["The sparse model predicts something else than the model."] * (one.agrees is False)
    rows = [
        [*shown.cells(one.output), effect.feature, effect.weight, effect.activation, effect.effect]
        for effect in one.effects
    ]
    diagrams = [Bars(f"What features add to {name}", bars)] if bars else []
    return Card(verdict, diagrams, TidyRows(EFFECT_COLUMNS, rows), notes=differs, title=shown.headline)


def prediction_card(result: PredictionResult) -> Card:
    """Return the card of the sparse model: its fidelity, and its strongest weights."""
    labels = result._labels
    bars = [
        _signed(f"{feature} on {labels.output(output)}", weight)
        for feature, output, weight in result.weights[:MOST_EFFECTS]
    ]
    used = len({feature for feature, _, _ in result.weights})
    told = ", ".join(f"{name} {percent(float(value), 0)}" for name, value in result.values.items())
    verdict = f"{used} of {result.features} features carry the predictions"
    rows = [[feature, output, labels.output(output), weight] for feature, output, weight in result.weights]
    diagrams = [Bars("Strongest weights: feature on output", bars)] if bars else []
    lines = [f"On {result.held_out} held-out examples: {told}"] if told else []
    parts = [features_card(one) for one in result.examples[:MOST_EXAMPLES]]
    return Card(verdict, diagrams, TidyRows(WEIGHT_COLUMNS, rows), lines, parts=parts)
