"""Errors as pictures and tables: by class, over the training, and single decisions that MI spoiled or rescued."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.error_analysis.cases import case_picture, case_table
from mviz_lightning.explainers.error_analysis.kept import class_name
from mviz_lightning.explainers.error_analysis.result import Case, ClassErrors, Counts, ErrorResult
from mviz_lightning.plotting.canvas import WIDTH, Canvas, title_lines, wrapped
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.panels import LINE, MARGIN
from mviz_lightning.plotting.text_fitting import shortened
from mviz_lightning.sinks.records import Picture, Record, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "rescued": "#009E73",
    "spoiled": "#D55E00",
    "unrepaired": "#F0B429",
    "misled": "#56338F",
    "lowered": "#009E73",
    "raised": "#D55E00",
}
"""Category -> colour. Light and dark colours differ for every kind of colour vision, and in greyscale."""

GAINS = ("rescued", "lowered")
"""Categories of decisions that the interaction improved; they are drawn to the left of 0."""

MEANING = {
    "rescued": "UC alone is wrong, the model is right",
    "spoiled": "UC alone is right, the model is wrong",
    "unrepaired": "both are wrong, and MI helps too little or not",
    "misled": "both are wrong, and MI lowers the margin of the truth",
    "lowered": "MI lowers the absolute error of UC by a tenth or more",
    "raised": "MI raises the absolute error of UC by a tenth or more",
}

TOLD_LETTERS = 66
"""Largest number of letters of a line below the title."""

SHOWN, LISTED = 20, 200
"""Largest number of classes in the picture and in the table; classes with the most errors come first."""

ROW, NAMES, COLUMN, TOTAL = 0.23, 1.3, 0.38, 0.4
"""Inches: height of a class's row; widths of its name, of a category's numbers, and of the total."""

SQUARE, LETTER = 0.16, 0.072
"""Inches: width of a square in the legend, and mean width of a letter beside it."""

TITLES = {"worst": "The worst, largest loss first", "rescued": "Rescued by the interaction, largest gain first"}
VALUED_TITLES = {"worst": "The worst, largest error first", "rescued": "Where MI lowers the error most"}
"""List of cases -> title of its picture; for tasks with values."""


def error_records(result: ErrorResult, key: str, drawing: DrawingContext, when: str) -> Sequence[Record]:
    """Draw the errors, and list them."""
    records: list[Record] = [
        class_picture(result, key, drawing.labels, when),
        class_table(result, key, drawing, when),
    ]
    if len(result.history) > 1:
        records.append(course(result.history, key, drawing.labels))
    cases = {name: found for name, found in (("worst", result.worst), ("rescued", result.rescued)) if found}
    return [*records, *(case_records(cases, key, drawing, when) if cases else [])]


def case_records(cases: Mapping[str, Sequence[Case]], key: str, drawing: DrawingContext, when: str) -> list[Record]:
    """Draw every list of cases if inputs may be shown, and write all cases into one table."""
    titles = VALUED_TITLES if drawing.labels.task == "regression" else TITLES
    sheets = {
        name: case_picture(listed, f"{key}/{name}", _title(titles[name], when), drawing)
        for name, listed in cases.items()
        if drawing.show_inputs and drawing.modality_types
    }
    return [*sheets.values(), case_table(cases, sheets, f"{key}/examples", drawing, when)]


def drawn(counts: Counts) -> list[str]:
    """Return the categories that are drawn: those with a colour, in the order of ``COLOURS``."""
    return [name for name in COLOURS if name in counts]


def noun_of(labels: Labels) -> str:
    """Return the noun for decisions, in the plural."""
    if labels.task in ("multilabel", "regression"):
        return "labels" if labels.task == "multilabel" else "values"
    return "examples" if labels.region is None else "regions"


def errors(counts: Counts) -> int:
    """Return the number of decisions that are drawn to the right of 0."""
    return sum(counts[name] for name in drawn(counts) if name not in GAINS)


def by_errors(result: ErrorResult) -> Sequence[ClassErrors]:
    """Return classes with most errors first; quarters of the targets in their order."""
    if any(found.between is not None for found in result.classes):
        return result.classes
    gains = [name for name in drawn(result.counts) if name in GAINS]
    return sorted(result.classes, key=lambda found: (-errors(found.counts), -found.counts[gains[0]], found.index))


def error_headline(counts: Counts, labels: Labels) -> str:
    """Return the number of errors, and of those that MI spoiled and rescued, in one line."""
    total, noun = sum(counts.values()), noun_of(labels)
    if labels.task == "regression":
        lowered, raised = counts["lowered"], counts["raised"]
        return f"Of {total} {noun}, MI lowers the error of {lowered} and raises the error of {raised}."
    wrong = errors(counts)
    said = f"{wrong} of {total} {noun} are wrong, {counts['spoiled']} of them spoiled by MI"
    return f"{said if wrong else f'None of {total} {noun} is wrong'}; MI rescued {counts['rescued']}."


def class_rows(result: ErrorResult, labels: Labels) -> list[tuple[str, Counts]]:
    """Return name and counts of every drawn class; one last row has the counts of all other classes together."""
    found = by_errors(result)
    rows = [(class_name(one, labels), one.counts) for one in found[:SHOWN]]
    if len(found) > SHOWN:
        rest: Counter[str] = Counter()
        for one in found[SHOWN:]:
            rest.update(one.counts)
        rows.append((f"{len(found) - SHOWN} others", {name: rest[name] for name in result.counts}))
    return rows


def class_picture(result: ErrorResult, key: str, labels: Labels, when: str) -> Picture:
    """Draw the errors of every class as bars, and write their numbers beside them."""
    names, rows = drawn(result.counts), class_rows(result, labels)
    said = error_headline(result.counts, labels)
    meanings = ". ".join(f"{name}: {MEANING[name]}" for name in names)
    rows_are = "Each row is a quarter of the values, by their targets. " if result.classes[0].between else ""
    averaged = labels.averaged("Outputs")
    note = f"{rows_are}{meanings}. UC: unimodal contributions. MI: multimodal interaction.{averaged}"
    title, told = title_lines(_title("What failed", when)), wrapped(said, TOLD_LETTERS)
    first = 0.1 + LINE * len(title)
    top = first + LINE * (len(told) + 1) + 0.05
    canvas = Canvas(top + ROW * (len(rows) + 1) + 0.5)
    canvas.title(title)
    canvas.text(MARGIN, first, "\n".join(told), fontsize=8.5)
    _draw_legend(canvas, first + LINE * len(told) + 0.03, names)
    _draw_numbers(canvas, top, rows, names)
    width = WIDTH - MARGIN - NAMES - COLUMN * len(names) - TOTAL - 0.15
    _draw_bars(canvas.panel(MARGIN + NAMES, top + ROW, width, ROW * len(rows)), rows, names, noun_of(labels))
    return canvas.picture(f"{key}/classes", _title(said, when), keep=True, note=note)


def _draw_legend(canvas: Canvas, top: float, names: Sequence[str]) -> None:
    """Draw the legend: for each category, a square in its colour and its name."""
    left = MARGIN
    for name in names:
        canvas.text(left, top, "■", fontsize=10, color=COLOURS[name])
        canvas.text(left + SQUARE, top, name, fontsize=8.5)
        left += SQUARE + LETTER * len(name) + 0.15


def _title(words: str, when: str) -> str:
    return f"{words}, {when}" if when else words


def _draw_numbers(canvas: Canvas, top: float, rows: Sequence[tuple[str, Counts]], names: Sequence[str]) -> None:
    from matplotlib.colors import to_rgb

    first = WIDTH - COLUMN * len(names) - TOTAL - 0.05
    for place, name in enumerate(names):
        left, face = first + place * COLUMN, to_rgb(COLOURS[name])
        cell = canvas.panel(left + 0.02, top, COLUMN - 0.04, ROW - 0.03)
        cell.set_facecolor(face)
        cell.spines[:].set_visible(False)
    canvas.text(WIDTH - 0.05 - TOTAL / 2, top + ROW / 2, "of", fontsize=8, ha="center", va="center")
    for row, (label, counts) in enumerate(rows, start=1):
        middle = top + (row + 0.5) * ROW
        canvas.text(MARGIN, middle, shortened(label, 17), fontsize=8.5, va="center")
        numbers = [*(counts[name] for name in names), sum(counts.values())]
        for place, number in enumerate(numbers):
            left = first + place * COLUMN + (COLUMN if place < len(names) else TOTAL) / 2
            faint = "#999999" if not number else "black"
            canvas.text(left, middle, str(number), fontsize=8.5, ha="center", va="center", color=faint)


def _draw_bars(axes: "Axes", rows: Sequence[tuple[str, Counts]], names: Sequence[str], noun: str) -> None:
    """Draw gains to the left, errors to the right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    places = list(range(len(rows)))
    floor = [0] * len(rows)
    for name in names:
        widths = [counts[name] for _, counts in rows]
        if name in GAINS:
            axes.barh(places, [-width for width in widths], color=COLOURS[name], height=0.75)
        else:
            axes.barh(places, widths, left=floor, color=COLOURS[name], height=0.75)
            floor = [below + width for below, width in zip(floor, widths, strict=True)]
    axes.axvline(0, color="#444444", linewidth=0.8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if not any(any(counts[name] for name in names) for _, counts in rows):
        axes.set_xlim(0, 1)  # without bars, the ticks would be fractions of an example
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(_unsigned))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(noun, fontsize=8, labelpad=1)


def _unsigned(value: float, _: int | None) -> str:
    return f"{abs(value):g}"


def course(history: Sequence[tuple[int, int, Counts]], key: str, labels: Labels) -> Picture:
    """Draw the categories over the training: errors stacked, gains as a line."""
    from matplotlib.ticker import MaxNLocator

    epochs, steps, found = zip(*history, strict=True)
    axis, places = ("epoch", epochs) if len(set(epochs)) == len(epochs) else ("step", steps)
    names = drawn(found[-1])
    shares = {name: [100 * counts[name] / max(1, sum(counts.values())) for counts in found] for name in names}
    canvas = Canvas(3.0)
    canvas.title([f"What failed, {labels.moment('over the training')}"])
    axes = canvas.panel(0.65, 0.4, WIDTH - 1.85, 2.1)
    _stack(axes, places, {name: shares[name] for name in names if name not in GAINS})
    for name in names:
        if name in GAINS:
            axes.plot(places, shares[name], color="white", linewidth=4)  # a white border, to be visible on the areas
            axes.plot(places, shares[name], "o-", markersize=4, color=COLOURS[name], label=name)
    axes.set(xlim=(places[0], places[-1]), ylim=(0, max(1.0, axes.get_ylim()[1])))  # 1 % or more, also for zeros
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8)
    axes.set_xlabel(axis, fontsize=8.5)
    axes.set_ylabel(f"% of {noun_of(labels)}", fontsize=8.5)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=8.5, reverse=True)
    return canvas.picture(f"{key}/over_time", f"{axis} {places[0]} to {places[-1]}")


def _stack(axes: "Axes", places: Sequence[int], shares: Mapping[str, Sequence[float]]) -> None:
    axes.stackplot(places, list(shares.values()), labels=list(shares), colors=[COLOURS[name] for name in shares])


def class_table(result: ErrorResult, key: str, drawing: DrawingContext, when: str) -> Table:
    """List the counts of every class."""
    columns = ["when", "class", noun_of(drawing.labels), *result.counts]
    rows: list[list[str | float]] = [
        [when, class_name(found, drawing.labels), sum(found.counts.values()), *found.counts.values()]
        for found in by_errors(result)[:LISTED]
    ]
    return Table(f"{key}/counts", columns, rows)
