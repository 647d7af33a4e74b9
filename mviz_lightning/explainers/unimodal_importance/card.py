"""Unimodal importance as cards: the weight of each segment for an output."""

from mviz_lightning.explainers.card import OUTPUT_COLUMNS, ExampleDisplay, examples_card, largest_weight, output_title
from mviz_lightning.explainers.unimodal_importance.result import ExampleImportance, ImportanceResult, OutputImportance
from mviz_lightning.notebook.card import Card, TidyRows, stacked_rows
from mviz_lightning.plotting.diagrams import Bar, Bars, Diagram, number_words
from mviz_lightning.plotting.panels import COLOURS

COLUMNS = (*OUTPUT_COLUMNS, "role", "value", "modality", "segment", "segment_name", "weight", "change", "method")


def importance_card(one: ExampleImportance) -> Card:
    """Return the card of one example."""
    shown = ExampleDisplay(one)
    lines = [_line(shown, output) for output in one.outputs]
    diagrams = [diagram for output in one.outputs for diagram in _diagrams(shown, output)]
    reasons = [part.reason for output in one.outputs for part in output.parts.values() if part.reason]
    verdict = lines[0] if lines else shown.headline
    return Card(verdict, diagrams, _frame(one), lines[1:], list(dict.fromkeys(reasons)), shown.headline)


def _line(shown: ExampleDisplay, output: OutputImportance) -> str:
    """Return the modality whose segments change the output most, in words."""
    title = output_title(shown.labels, output.output, output.role)
    changes = {name: part.change for name, part in output.parts.items() if part.has_effect}
    if not changes:
        return f"{title}: no modality changes it"
    most = max(changes, key=lambda name: abs(changes[name]))
    return f"{title}: {most} changes it most, by {number_words(changes[most])} of {number_words(output.value)}"


def _diagrams(shown: ExampleDisplay, output: OutputImportance) -> list[Diagram]:
    title = f"{output_title(shown.labels, output.output, output.role)}: change when a modality is masked"
    colours = dict(zip(output.parts, COLOURS, strict=False))
    bars = [Bar(name, part.change, colour=colours.get(name, COLOURS[0])) for name, part in output.parts.items()]
    diagrams: list[Diagram] = [Bars(title, bars)]
    for modality, part in output.parts.items():
        diagrams += shown.input(modality)
        heading = f"{modality}: {part.method.replace('_', ' ')}"
        diagrams.append(shown.map(modality, heading, part.weights, largest_weight(part.weights), part.r2))
    return diagrams


def _frame(one: ExampleImportance) -> TidyRows:
    shown = ExampleDisplay(one)
    rows = [
        [
            *shown.cells(output.output),
            output.role,
            output.value,
            modality,
            place,
            name,
            weight,
            part.change,
            part.method,
        ]
        for output in one.outputs
        for modality, part in output.parts.items()
        for place, (name, weight) in enumerate(
            zip(shown.names(modality, len(part.weights)), part.weights.tolist(), strict=True)
        )
    ]
    return TidyRows(COLUMNS, rows)


def importances_card(result: ImportanceResult) -> Card:
    """Return the card of all examples."""
    cards = [importance_card(one) for one in result.examples]
    return examples_card(
        result, cards, "with the importance of their segments", stacked_rows([card.frame for card in cards])
    )
