"""The error analysis as cards: categories of errors, and single decisions."""

from mviz_lightning.explainers.card import MOST_EXAMPLES, OUTPUT_COLUMNS, ExampleDisplay, split_bars
from mviz_lightning.explainers.error_analysis.figure import COLOURS, MEANING, error_headline
from mviz_lightning.explainers.error_analysis.kept import class_name
from mviz_lightning.explainers.error_analysis.result import Case, ErrorResult
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import Bar, Bars

CASE_COLUMNS = (*OUTPUT_COLUMNS, "category", "value", "UC", "MI", "error", "loss", "alone_name")
CLASS_COLUMNS = ("class", "class_name", "category", "decisions")


def case_card(case: Case) -> Card:
    """Return the card of one decision."""
    shown = ExampleDisplay(case)
    output, alone = shown.labels.output(case.output), shown.labels.outcome(case.alone)
    verdict = f"{case.category}: {MEANING.get(case.category, 'nothing failed')}"
    lines = [f"UC alone predicts {alone}; loss {fixed(case.loss, 3)}"]
    bars = split_bars(f"{output} = UC + MI", case.value, case.unimodal, case.interaction, case.error)
    numbers = [case.category, case.value, case.unimodal, case.interaction, case.error, case.loss, alone]
    return Card(
        verdict, [bars], TidyRows(CASE_COLUMNS, [[*shown.cells(case.output), *numbers]]), lines, title=shown.headline
    )


def errors_card(result: ErrorResult) -> Card:
    """Return the card of all decisions, with the worst decisions as parts."""
    labels = result._labels
    bars = [Bar(name, float(count), colour=COLOURS.get(name, "#999999")) for name, count in result.counts.items()]
    rows = [
        [one.index, class_name(one, labels), category, count]
        for one in result.classes
        for category, count in one.counts.items()
    ]
    notes = [f"{name}: {MEANING[name]}." for name in result.counts if name in MEANING]
    parts = [case_card(case) for case in result.worst[:MOST_EXAMPLES]]
    diagrams = [Bars("Decisions by what MI did to them", bars)]
    verdict = error_headline(_complete(result), labels)
    return Card(verdict, diagrams, TidyRows(CLASS_COLUMNS, rows), [], [" ".join(notes)] if notes else [], parts=parts)


def _complete(result: ErrorResult) -> dict[str, int]:
    """Return the counts with 0 for categories that are missing."""
    return {**dict.fromkeys((*COLOURS, "right", "unchanged"), 0), **result.counts}
