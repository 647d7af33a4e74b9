"""What failed where the model is wrong: by class, over the training, and the worst examples with their inputs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mviz_lightning.explainers.errors import ClassErrors, Counts, ErrorFinding, Mistake
from mviz_lightning.kinds import Kind
from mviz_lightning.kinds.lettering import on, shortened
from mviz_lightning.records import Image, Pixels, Record, Table
from mviz_lightning.rendering.canvas import DPI, WIDTH, Canvas, wrapped
from mviz_lightning.rendering.findings import records_of
from mviz_lightning.rendering.gallery import LINE, MARGIN, Gallery
from mviz_lightning.rendering.labels import Labels

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
"""Of light and dark, so that they are told apart with every kind of colour vision, and in grey."""

GAINS = ("rescued", "lowered")
"""What the interaction gained: to the left of 0; the other categories are to the right."""

MEANING = {
    "rescued": "UC alone is wrong, the model is right",
    "spoiled": "UC alone is right, the model is wrong",
    "unrepaired": "both are wrong, and MI helps too little or not",
    "misled": "both are wrong, and MI brings the truth further away",
    "lowered": "MI lowers the absolute error of UC by a tenth or more",
    "raised": "it raises it so",
}

NOUNS = {"multiclass": "examples", "binary": "examples", "multilabel": "labels", "regression": "values"}
"""What is counted."""

SHOWN, LISTED = 20, 200
"""Classes in the picture and in the table at the most: those with most errors."""

ROW, NAMES, COLUMN, TOTAL = 0.23, 1.45, 0.62, 0.45
"""Inches: a class's height, its name, the numbers of a category, and of all."""

THUMBNAIL, TALLEST = 1.5, 1.0
"""Inches: the width and height of an input at the most."""


@records_of.register
def error_records(finding: ErrorFinding, key: str, gallery: Gallery, when: str) -> Sequence[Record]:
    """Draw and list what failed."""
    records: list[Record] = [
        class_picture(finding, key, gallery.labels, when),
        class_table(finding, key, gallery, when),
    ]
    if len(finding.history) > 1:
        records.append(course(finding.history, key, gallery.labels))
    if finding.worst:
        sheet = mistake_picture(finding.worst, key, gallery, when) if gallery.show_inputs and gallery.kinds else None
        records += [] if sheet is None else [sheet]
        records.append(mistake_table(finding.worst, key, gallery, when, None if sheet is None else sheet.pixels))
    return records


def drawn(counts: Counts) -> list[str]:
    """Return the categories that are drawn: not what would have been the same without interaction."""
    return [name for name in COLOURS if name in counts]


def errors(counts: Counts) -> int:
    """Return how many decisions are to the right of 0."""
    return sum(counts[name] for name in drawn(counts) if name not in GAINS)


def class_name(found: ClassErrors, labels: Labels) -> str:
    """Name a class, an output or a quarter of the targets."""
    if found.between is not None:
        return f"{found.between[0]:.3g} to {found.between[1]:.3g}"
    return labels.outcome(found.index) if labels.task in ("multiclass", "binary") else labels.output(found.index)


def by_errors(finding: ErrorFinding) -> Sequence[ClassErrors]:
    """Return classes with most errors first; quarters of the targets in their order."""
    if any(found.between is not None for found in finding.classes):
        return finding.classes
    gains = [name for name in drawn(finding.counts) if name in GAINS]
    return sorted(finding.classes, key=lambda found: (-errors(found.counts), -found.counts[gains[0]], found.index))


def headline(counts: Counts, labels: Labels, when: str) -> str:
    """Say in a line what failed."""
    total, noun, moment = sum(counts.values()), NOUNS[labels.task], f"{when}: " if when else ""
    if labels.task == "regression":
        return (
            f"{moment}the interaction lowers the error of {counts['lowered']} of {total} {noun} and raises that of "
            f"{counts['raised']}"
        )
    return (
        f"{moment}{errors(counts)} of {total} {noun} are wrong, {counts['spoiled']} of them spoiled by the "
        f"interaction; it rescued {counts['rescued']}"
    )


def class_picture(finding: ErrorFinding, key: str, labels: Labels, when: str) -> Image:
    """Draw the errors of every class as bars, and write their numbers beside them."""
    names, found = drawn(finding.counts), by_errors(finding)
    rows = [(class_name(one, labels), one.counts) for one in found[:SHOWN]]
    if len(found) > SHOWN:
        rest: Counter[str] = Counter()
        for one in found[SHOWN:]:
            rest.update(one.counts)
        rows.append((f"{len(found) - SHOWN} others", {name: rest[name] for name in finding.counts}))
    said = headline(finding.counts, labels, when)
    title = wrapped(said[0].upper() + said[1:], 68)
    footer = wrapped(
        ". ".join(f"{name}: {MEANING[name]}" for name in names) + ". UC: unimodal contributions. "
        "MI: multimodal interaction.",
        112,
    )
    top = 0.1 + len(title) * LINE + 0.1
    canvas = Canvas(top + ROW * (len(rows) + 1) + 0.5 + 0.15 * len(footer) + 0.1)
    canvas.text(MARGIN, 0.08, "\n".join(title), fontsize=10, weight="bold", linespacing=1.1)
    _draw_numbers(canvas, top, rows, names)
    width = WIDTH - MARGIN - NAMES - COLUMN * len(names) - TOTAL - 0.15
    _draw_bars(canvas.panel(MARGIN + NAMES, top + ROW, width, ROW * len(rows)), rows, names, NOUNS[labels.task])
    canvas.text(MARGIN, canvas.height - 0.1 - 0.15 * len(footer), "\n".join(footer), fontsize=7.5, color="#555555")
    return Image(f"{key}/classes", canvas.pixels(), said, keep=True)


def _draw_numbers(canvas: Canvas, top: float, rows: Sequence[tuple[str, Counts]], names: Sequence[str]) -> None:
    from matplotlib.colors import to_rgb

    first = WIDTH - COLUMN * len(names) - TOTAL - 0.05
    for place, name in enumerate(names):
        left, face = first + place * COLUMN, to_rgb(COLOURS[name])
        cell = canvas.panel(left + 0.02, top, COLUMN - 0.04, ROW - 0.03)
        cell.set_facecolor(face)
        cell.spines[:].set_visible(False)
        canvas.text(left + COLUMN / 2, top + ROW / 2, name, fontsize=7.5, color=on(face), ha="center", va="center")
    canvas.text(WIDTH - 0.05 - TOTAL / 2, top + ROW / 2, "of", fontsize=8, ha="center", va="center")
    for row, (label, counts) in enumerate(rows, start=1):
        middle = top + (row + 0.5) * ROW
        canvas.text(MARGIN, middle, shortened(label, 19), fontsize=8.5, va="center")
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
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_unsigned))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(noun, fontsize=8, labelpad=1)


def _unsigned(value: float, _: int | None) -> str:
    return f"{abs(value):g}"


def course(history: Sequence[Counts], key: str, labels: Labels) -> Image:
    """Draw the categories over the surveys of the training: errors stacked, gains as a line."""
    from matplotlib.ticker import MaxNLocator

    names, numbers = drawn(history[-1]), list(range(1, len(history) + 1))
    shares = {name: [100 * counts[name] / max(1, sum(counts.values())) for counts in history] for name in names}
    canvas = Canvas(3.0)
    canvas.text(MARGIN, 0.08, "What failed, over the surveys of this training", fontsize=10, weight="bold")
    axes = canvas.panel(0.65, 0.4, WIDTH - 2.0, 2.1)
    stacked = [name for name in names if name not in GAINS]
    axes.stackplot(
        numbers, [shares[name] for name in stacked], labels=stacked, colors=[COLOURS[name] for name in stacked]
    )
    for name in names:
        if name in GAINS:
            axes.plot(numbers, shares[name], "o--", markersize=3.5, color=COLOURS[name], label=name)
    axes.set_xlim(1, len(history))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("survey of the training", fontsize=8.5)
    axes.set_ylabel(f"% of {NOUNS[labels.task]}", fontsize=8.5)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=8.5, reverse=True)
    return Image(f"{key}/over_time", canvas.pixels(), f"surveys 1 to {len(history)}")


def class_table(finding: ErrorFinding, key: str, gallery: Gallery, when: str) -> Table:
    """List the counts of every class."""
    columns = ["when", "class", NOUNS[gallery.labels.task], *finding.counts]
    rows: list[list[str | float]] = [
        [when, class_name(found, gallery.labels), sum(found.counts.values()), *found.counts.values()]
        for found in by_errors(finding)[:LISTED]
    ]
    return Table(f"{key}/counts", columns, rows)


def mistake_picture(worst: Sequence[Mistake], key: str, gallery: Gallery, when: str) -> Image:
    """Draw the inputs of the worst examples, and say what failed."""
    said = f"The worst of {when}" if when else "The worst"
    width, row = _column(gallery), _row_height()
    canvas = Canvas(0.35 + row * len(worst))
    canvas.text(MARGIN, 0.08, f"{said}: largest loss first", fontsize=10, weight="bold")
    for place, mistake in enumerate(worst):
        top = 0.35 + row * place
        for panel, kind in _panels(canvas, top, mistake.explanation.example, gallery):
            kind.draw(panel, mistake.explanation.example)
        left = MARGIN + len(gallery.kinds) * (width + 0.1) + 0.05
        characters = int((WIDTH - left - MARGIN) / 0.072)
        lines = [line for sentence in sentences(mistake, gallery.labels) for line in wrapped(sentence, characters)]
        canvas.text(left, top, "\n".join(lines[:7]), fontsize=8.5, linespacing=1.15)
    return Image(f"{key}/worst", canvas.pixels(), said, keep=True)


def sentences(mistake: Mistake, labels: Labels) -> list[str]:
    """Say what was predicted, what UC alone predicts, and what the interaction did."""
    sign = "+" if mistake.interaction >= 0 else "-"
    split = f"UC {mistake.unimodal:.2f} {sign} MI {abs(mistake.interaction):.2f} = {mistake.value:.2f}"
    measure = "absolute error" if labels.task == "regression" else "loss"
    return [
        f"Example {mistake.explanation.position}: {labels.headline(mistake.explanation).removesuffix(' - wrong')}",
        f"UC alone predicts {labels.outcome(mistake.alone)}",
        f"{labels.output(mistake.output)}: {split}",
        f"{mistake.category}; {measure} {mistake.loss:.3g}",
    ]


def _column(gallery: Gallery) -> float:
    return min(THUMBNAIL, 3.3 / max(1, len(gallery.kinds)) - 0.1)


def _row_height() -> float:
    return TALLEST + 0.12


def _panels(canvas: Canvas, top: float, example: int, gallery: Gallery) -> Iterator[tuple["Axes", Kind]]:
    """Yield a panel for every modality; what is tall becomes narrow, words become shorter."""
    for place, (name, kind) in enumerate(gallery.kinds.items()):
        width, aspect = _column(gallery), kind.aspect(example)
        height = min(width * aspect, TALLEST)
        left = MARGIN + place * (width + 0.1)
        yield canvas.panel(left, top, height / aspect if kind.thumbnail else width, height, name), kind


def mistake_table(worst: Sequence[Mistake], key: str, gallery: Gallery, when: str, sheet: Pixels | None) -> Table:
    """List the worst examples, with their inputs cut out of a picture of them."""
    columns = ["when", "example", "target", "predicted", "UC predicts", "output", "value", "UC", "MI"]
    labels = gallery.labels
    rows: list[list[str | float | Pixels]] = [
        [
            when,
            mistake.explanation.position,
            labels.outcome(mistake.explanation.target),
            labels.outcome(mistake.explanation.predicted),
            labels.outcome(mistake.alone),
            labels.output(mistake.output),
            mistake.value,
            mistake.unimodal,
            mistake.interaction,
            mistake.category,
            mistake.loss,
            *([] if sheet is None else [_cut(sheet, place, gallery)]),
        ]
        for place, mistake in enumerate(worst)
    ]
    return Table(f"{key}/mistakes", [*columns, "category", "loss", *([] if sheet is None else ["inputs"])], rows)


def _cut(sheet: Pixels, place: int, gallery: Gallery) -> Pixels:
    top = round(DPI * (0.35 + _row_height() * place)) - 3
    right = round(DPI * (MARGIN + len(gallery.kinds) * (_column(gallery) + 0.1)))
    return sheet[top : top + round(DPI * _row_height()) - 3, :right]
