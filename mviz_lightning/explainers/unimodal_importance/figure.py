"""Unimodal importance as pictures: every input beside the map of its segments' weights, and the strongest by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy.typing as npt

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.unimodal_importance.result import (
    ExampleImportance,
    ImportanceResult,
    OutputImportance,
    SegmentAttribution,
)
from mviz_lightning.plotting import trust
from mviz_lightning.plotting.canvas import Canvas, diverging, title_lines, wrapped
from mviz_lightning.plotting.labels import format_weight, strongest_places
from mviz_lightning.plotting.panels import GAP, LINE, MARGIN, SCALE
from mviz_lightning.plotting.system_fonts import FONT_FAMILY
from mviz_lightning.plotting.text_fitting import FONT_SIZE, shortened
from mviz_lightning.sinks.records import Picture, Pixels, Record, Table

METHODS = {
    "gradient": "gradient x input",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    "lime": "LIME",
    "shap": "Shapley values",
}

NOTABLE = 0.05
"""Largest gap at which weights count as adding up; for a larger one, the picture shows both sums."""

LISTED = 5
"""Largest number of segments that are listed beside a map."""

ROW = 0.165
"""Inches: height of a line of the list."""

LETTERS = 14
"""Largest number of letters of a segment's name in a line of the list."""

PANEL = 1.1
"""Inches: width of a panel. Two panels leave room for the names of segments beside them."""

LIST = MARGIN + 2 * PANEL + GAP + SCALE + 0.12
"""Inches: left edge of the list of weights and names."""

NAME = LIST + 0.56


def importance_records(result: ImportanceResult, key: str, drawing: DrawingContext, when: str) -> Sequence[Record]:
    """Draw a picture for every example, and list the segments with the largest weights."""
    canvas = Canvas()
    pictures = [_Picture(drawing, canvas, found, when).drawn(key) for found in result.examples]
    if not pictures:
        return []
    return [*pictures, _table(result, pictures, key, drawing, when)]


@dataclass(frozen=True)
class _Picture:
    """One example's picture."""

    drawing: DrawingContext
    canvas: Canvas
    found: ExampleImportance
    when: str

    def drawn(self, key: str) -> Picture:
        canvas, headline = self.canvas, self.drawing.labels.title(self.found, self.when)
        title = title_lines(headline)
        block = 2 * LINE + 0.08 + sum(height + 2 * LINE for height in self._heights.values())
        canvas.begin(0.1 + len(title) * LINE + len(self.found.outputs) * block + 0.05)
        canvas.title(title)
        top = 0.1 + len(title) * LINE
        for output in self.found.outputs:
            self._draw_output(top, output)
            top += block
        return canvas.picture(f"{key}/example_{self.found.position}", headline, keep=True, note=" ".join(self._note()))

    @property
    def _parts(self) -> Mapping[str, SegmentAttribution]:
        return self.found.outputs[0].parts

    @cached_property
    def _heights(self) -> dict[str, float]:
        """Return the height of every modality's panels, which is enough for the list beside them."""
        kinds, example, inputs = self.drawing.modality_types, self.found.example, self.drawing.show_inputs
        listed = {
            name: max(
                sum(len(lines) for lines, _ in self._list(name, output.parts[name])) for output in self.found.outputs
            )
            for name in self._parts
        }
        return {
            name: max(PANEL * kinds[name].aspect(example, inputs=inputs), ROW * rows) for name, rows in listed.items()
        }

    def _list(self, name: str, part: SegmentAttribution) -> list[tuple[Sequence[str], float]]:
        """Return the name, in lines, and the weight of each of the strongest segments."""
        names = self.drawing.modality_types[name].names(self.found.example, inputs=self.drawing.show_inputs)
        return [(in_lines(segment), weight) for segment, weight in strongest(part, names)]

    def _note(self) -> list[str]:
        methods = {METHODS[part.method] for part in self._parts.values() if not part.reason}
        by = "".join(f", by {method}," for method in methods)
        text = (
            f"How each part moves the output{by} from what it is with all parts of the modality masked, the other "
            f"modalities as they are. Red raises it, blue lowers it. {self.drawing.masked(self._parts)}"
        )
        instead = [
            f"{name} by {METHODS[part.method]}: {part.reason}." for name, part in self._parts.items() if part.reason
        ]
        apart = any(part.r2 is None and part.gap > NOTABLE for one in self.found.outputs for part in one.parts.values())
        notes = ["Adds up to a, not b: b is what the parts add if they are masked all at once."] if apart else []
        return [text, *instead, *notes]

    def _draw_output(self, top: float, output: OutputImportance) -> None:
        canvas = self.canvas
        said = self.drawing.labels.valued(output.output, output.role, output.value)
        canvas.text(MARGIN, top, said, fontsize=8, color="#222222")
        for column, heading in enumerate(("input", "what each part adds")):
            canvas.text(_left(column) + PANEL / 2, top + LINE + 0.03, heading, ha="center", fontsize=8.5)
        canvas.text(LIST, top + LINE + 0.03, "strongest parts", fontsize=8.5)
        top += 2 * LINE + 0.04
        for name, height in self._heights.items():
            self._draw_modality(top, name, output.parts[name])
            top += height + 2 * LINE

    def _draw_modality(self, top: float, name: str, part: SegmentAttribution) -> None:
        canvas, modality_type, example = self.canvas, self.drawing.modality_types[name], self.found.example
        inputs = self.drawing.show_inputs
        tall = PANEL * modality_type.aspect(example, inputs=inputs)
        panels = [canvas.panel(_left(column), top, PANEL, tall, f"{name} {column}") for column in range(2)]
        if inputs:
            self.drawing.draw_input(panels[0], name, example)
        colours = diverging(float(part.weights.abs().max()) if len(part.weights) else 0.0)
        modality_type.paint(panels[1], example, drawn_weights(part), colours, inputs=inputs)
        if part.has_effect:
            canvas.scale(_left(2) - GAP + 0.06, top, tall, colours)
        below = top + tall + 0.08
        canvas.text(_left(0) + PANEL / 2, below, name if inputs else f"{name} (not shown)", ha="center")
        words, colour = sum_verdict(part)
        canvas.text(_left(1) + PANEL / 2, below, words, ha="center", fontsize=8.5, color=colour)
        self._draw_list(top, self._list(name, part))

    def _draw_list(self, top: float, segments: Sequence[tuple[Sequence[str], float]]) -> None:
        style = {"fontsize": FONT_SIZE, "family": FONT_FAMILY, "color": "#222222"}
        for lines, weight in segments:
            self.canvas.text(NAME - 0.07, top, format_weight(weight), ha="right", **style)
            for line in lines:
                self.canvas.text(NAME, top, line, **style)
                top += ROW


def _left(column: int) -> float:
    return MARGIN + column * (PANEL + GAP)


def in_lines(name: str) -> Sequence[str]:
    """Break a segment's name into up to two lines; dots replace the rest of a longer name."""
    first, *rest = wrapped(name, LETTERS)
    return [first, shortened(" ".join(rest), LETTERS)] if rest else [first]


def drawn_weights(part: SegmentAttribution) -> npt.NDArray[Any]:
    """Return ``(U,)`` weights for drawing: faded if R2 is too low, 0 if they may be rounding."""
    if part.r2 is not None:
        return trust.shown(part.weights, part.r2)
    return part.weights.numpy() * part.has_effect


def sum_verdict(part: SegmentAttribution) -> tuple[str, str]:
    """Return the text below a map and its colour: whether weights add up, or how well they predict held-out masks."""
    if not part.has_effect:
        return "no effect", "#555555"
    if part.r2 is not None:
        return trust.verdict(part.r2)
    if part.gap <= NOTABLE:
        return f"adds up to {format_weight(part.change)}", "#222222"
    said = f"adds up to {format_weight(float(part.weights.sum()))}, not {format_weight(part.change)}"
    return said, "#222222" if part.method == "occlusion" else "#b03000"  # occlusion need not add up


def strongest(part: SegmentAttribution, names: Sequence[str], count: int = LISTED) -> Iterator[tuple[str, float]]:
    """Yield names and weights of the strongest segments, the strongest first; nothing if nothing has an effect."""
    for segment in strongest_places(part.weights, count) if part.has_effect else []:
        yield names[segment], float(part.weights[segment])


def _table(
    result: ImportanceResult, pictures: Sequence[Picture], key: str, drawing: DrawingContext, when: str
) -> Table:
    labels = drawing.labels
    columns = ["when", "example", *labels.region_column, "picture", "target", "predicted", "output", "value", "method"]
    rows: list[list[str | float | Pixels]] = [
        [
            when,
            found.position,
            *labels.region_cell(found.example),
            picture.pixels,
            labels.outcome(found.target),
            labels.outcome(found.predicted),
            labels.output(output.output),
            output.value,
            "; ".join(f"{name}: {METHODS[part.method]}" for name, part in output.parts.items()),
            "; ".join(_listed(drawing, found.example, name, part) for name, part in output.parts.items()),
            max((part.gap for part in output.parts.values()), default=0.0),
        ]
        for found, picture in zip(result.examples, pictures, strict=True)
        for output in found.outputs
    ]
    return Table(f"{key}/examples", [*columns, "strongest parts", "gap"], rows)


def _listed(drawing: DrawingContext, example: int, name: str, part: SegmentAttribution) -> str:
    names = drawing.modality_types[name].names(example, inputs=drawing.show_inputs)
    return f"{drawing.called(name)}: " + ", ".join(
        f"{segment} {format_weight(weight)}" for segment, weight in strongest(part, names, 3)
    )
