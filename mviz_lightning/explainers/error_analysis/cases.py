"""Single decisions as pictures and rows: inputs, prediction, and the effect of the interaction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.error_analysis.result import Case
from mviz_lightning.plotting.canvas import DPI, WIDTH, Canvas, title_lines
from mviz_lightning.plotting.labels import Labels, named
from mviz_lightning.plotting.panels import LINE, MARGIN
from mviz_lightning.plotting.text_fitting import shortened
from mviz_lightning.sinks.records import Picture, Pixels, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THUMBNAIL, TALLEST, ACROSS = 1.0, 1.0, 2.0
"""In inches: largest width and height of an input, and width of all inputs together."""

GAP = 0.1
"""Gap between inputs, in inches."""

TITLE = 0.35
"""Height of a one-line title, in inches."""

ROW = TALLEST + 0.12
"""Height of a case, in inches."""

DIGITS = 3
"""Significant digits of values next to the inputs, where space is limited."""

LETTER = 0.07
"""Mean width of a letter of the words next to the inputs, in inches."""


def case_picture(cases: Sequence[Case], key: str, title: str, drawing: DrawingContext) -> Picture:
    """Draw the inputs of some cases below each other, each with a description.

    Args:
        cases: One case or more.
        key: Key of the picture.
        title: Title of the picture.
        drawing: Modality types and labels; inputs must be allowed.
    """
    below, left = _first(title), _words_from(drawing)
    canvas = Canvas(below + ROW * len(cases))
    canvas.title(title_lines(title))
    for place, case in enumerate(cases):
        top = below + ROW * place
        for panel, name in _panels(canvas, top, case.example, drawing):
            drawing.draw_input(panel, name, case.example)
        first, *others = sentences(case, drawing.labels, int((WIDTH - left - MARGIN) / LETTER))
        canvas.text(left, top, first, fontsize=8.5, weight="bold")
        canvas.text(left, top + LINE, "\n".join(others), fontsize=8.5, linespacing=1.25)
    return canvas.picture(key, title, keep=True)


def sentences(case: Case, labels: Labels, letters: int) -> list[str]:
    """Describe a case: category, target, prediction, and the prediction of UC alone; long names are shortened.

    Args:
        case: The decision.
        labels: Names of the classes.
        letters: Largest number of letters of a line; if the first line is longer, the measure gets its own line.
    """
    measure = "absolute error" if labels.task == "regression" else "loss"
    chance = "" if case.probability is None else f" ({case.probability:.2f})"
    what, cost = f"Example {case.position}: {case.category}", f"{measure} {case.loss:.3g}"
    return [
        *([f"{what}, {cost}"] if len(what) + 2 + len(cost) <= letters else [what, cost]),
        *(_line("region: ", words, "", letters) for words in labels.region_cell(case.example)),
        _line("target ", labels.outcome(case.target), "", letters),
        _split(case, labels, letters),
        _line("predicted ", labels.outcome(case.predicted), chance, letters),
        _line("UC alone predicts ", labels.outcome(case.alone), "", letters),
    ]


def _split(case: Case, labels: Labels, letters: int) -> str:
    """Return UC and MI in words; without room, "its logit" is left out, and other names are shortened."""
    numbers = labels.split(case.unimodal, case.interaction, case.value, case.error, DIGITS)
    name = its_output(case, labels)
    whole = labels.task == "multiclass" and len(f"{name}: {numbers}") > letters
    return numbers if whole else named(name, f": {numbers}", letters)


def its_output(case: Case, labels: Labels) -> str:
    """Return the name of the output that is split; for classes, it is the target's."""
    return "its logit" if labels.task == "multiclass" else labels.output(case.output)


def _line(before: str, name: str, after: str, letters: int) -> str:
    return before + shortened(name, letters - len(before) - len(after)) + after


def case_table(
    cases: Mapping[str, Sequence[Case]], sheets: Mapping[str, Picture], key: str, drawing: DrawingContext, when: str
) -> Table:
    """List cases, with their inputs cut from the pictures.

    Args:
        cases: Name of a list -> its cases.
        sheets: Name of a list -> its picture; empty if inputs may not be shown.
        key: Key of the table.
        drawing: Modality types and labels.
        when: Time in the training, in words.
    """
    columns = ["when", "list", "example", *drawing.labels.region_column, "category", "loss", "target", "predicted"]
    columns += ["UC predicts", "output", "value"]
    rows: list[list[str | float | Pixels]] = [
        [when, name, *_cells(case, drawing.labels), *([_cut(sheets[name], place, drawing)] if sheets else [])]
        for name, listed in cases.items()
        for place, case in enumerate(listed)
    ]
    return Table(key, [*columns, "UC", "MI", "error of MI", *(["inputs"] if sheets else [])], rows)


def _cells(case: Case, labels: Labels) -> list[str | float]:
    said = [labels.outcome(outcome) for outcome in (case.target, case.predicted, case.alone)]
    split = [case.value, case.unimodal, case.interaction, case.error]
    return [
        case.position,
        *labels.region_cell(case.example),
        case.category,
        case.loss,
        *said,
        labels.output(case.output),
        *split,
    ]


def _first(title: str) -> float:
    """Return the top of the first case, in inches, below a title of one line or more."""
    return TITLE + LINE * (len(title_lines(title)) - 1)


def _cut(sheet: Picture, place: int, drawing: DrawingContext) -> Pixels:
    top = round(DPI * (_first(sheet.caption) + ROW * place)) - 3
    return sheet.pixels[top : top + round(DPI * ROW) - 3, : round(DPI * _words_from(drawing)) - 3]


def _column(drawing: DrawingContext) -> float:
    return min(THUMBNAIL, ACROSS / max(1, len(drawing.modality_types)) - GAP)


def _words_from(drawing: DrawingContext) -> float:
    return MARGIN + len(drawing.modality_types) * (_column(drawing) + GAP) + 0.05


def _panels(canvas: Canvas, top: float, example: int, drawing: DrawingContext) -> Iterator[tuple["Axes", str]]:
    """Yield a panel for every modality; tall pictures get narrower, lists of words get shorter."""
    for place, (name, modality_type) in enumerate(drawing.modality_types.items()):
        width, aspect = _column(drawing), modality_type.aspect(example)
        height = min(width * aspect, TALLEST)
        left = MARGIN + place * (width + GAP)
        wide = height / aspect if modality_type.thumbnail else width
        yield canvas.panel(left, top, wide, height, name), name
