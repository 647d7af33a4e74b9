"""DIME's explanations as cards: value = UC + MI, and the weights of segments for both."""

from mviz_lightning.explainers.card import (
    OUTPUT_COLUMNS,
    ExampleDisplay,
    examples_card,
    output_title,
    split_bars,
)
from mviz_lightning.explainers.dime.figure import largest
from mviz_lightning.explainers.dime.result import DIMEResult, Explanation, OutputExplanation
from mviz_lightning.notebook.card import Card, TidyRows, stacked_rows
from mviz_lightning.plotting.diagrams import Diagram

COLUMNS = (
    *OUTPUT_COLUMNS,
    *("role", "value", "UC", "MI", "error", "modality", "segment", "segment_name"),
    *("weight_UC", "weight_MI", "R2_UC", "R2_MI"),
)

READING = (
    "UC: what the modalities add each by itself. MI: what they add only together. "
    "Orange raises the output, blue lowers it; a faint map is not to be trusted (R² below 0.2)."
)


def explanation_card(explanation: Explanation) -> Card:
    """Return the card of one example."""
    shown = ExampleDisplay(explanation)
    lines = [_line(shown, output) for output in explanation.outputs]
    diagrams = [diagram for output in explanation.outputs for diagram in _diagrams(shown, output)]
    notes = [*filter(None, [explanation.note]), READING]
    return Card(lines[0] if lines else shown.headline, diagrams, _frame(explanation), lines[1:], notes, shown.headline)


def _line(shown: ExampleDisplay, output: OutputExplanation) -> str:
    """Return one output as the sum of UC and MI, in words."""
    parts = (output.unimodal, output.interaction, output.value, output.error)
    return str(shown.labels.decomposition(output.output, output.role, *parts))


def _diagrams(shown: ExampleDisplay, output: OutputExplanation) -> list[Diagram]:
    title = output_title(shown.labels, output.output, output.role)
    parts = (output.value, output.unimodal, output.interaction, output.error)
    diagrams: list[Diagram] = [split_bars(title, *parts)]
    for modality, part in output.parts.items():
        limit = largest(part)
        diagrams += shown.input(modality)
        diagrams.append(shown.map(modality, f"{modality}: UC", part.unimodal, limit, part.unimodal_r2))
        diagrams.append(shown.map(modality, f"{modality}: MI", part.interaction, limit, part.interaction_r2))
    return diagrams


def _frame(explanation: Explanation) -> TidyRows:
    shown = ExampleDisplay(explanation)
    rows = []
    for output in explanation.outputs:
        before = [*shown.cells(output.output), output.role, output.value, output.unimodal, output.interaction]
        for modality, part in output.parts.items():
            names = shown.names(modality, len(part.unimodal))
            weights = zip(names, part.unimodal.tolist(), part.interaction.tolist(), strict=True)
            rows += [
                [*before, output.error, modality, place, *cells, part.unimodal_r2, part.interaction_r2]
                for place, cells in enumerate(weights)
            ]
    return TidyRows(COLUMNS, rows)


def dime_card(result: DIMEResult) -> Card:
    """Return the card of all explained examples."""
    cards = [explanation_card(one) for one in result.examples]
    frame = stacked_rows([card.frame for card in cards])
    return examples_card(result, cards, "explained by DIME", frame)
