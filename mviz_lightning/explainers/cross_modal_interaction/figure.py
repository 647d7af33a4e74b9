"""Cross-modal interactions as pictures: a matrix of segments, and maps of the segments with the largest weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mviz_lightning.explainers.cross_modal_interaction.result import (
    CrossModalResult,
    ExampleInteractions,
    OutputInteractions,
    PairInteraction,
)
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.plotting.canvas import WIDTH, Canvas, diverging, title_lines
from mviz_lightning.plotting.labels import format_weight, strongest_places
from mviz_lightning.plotting.panels import GAP, LINE, MARGIN, PANEL, SCALE
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.plotting.text_fitting import distinct
from mviz_lightning.sinks.records import Picture, Pixels, Record, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

METHODS = {"difference": "difference of masks", "second_order": "second derivative"}

AS_IT_IS = "all else as it is"
"""Context of a second derivative, in words: all other segments are present."""

CONTEXTS: dict[int, str] = {
    1: AS_IT_IS,
    2: "averaged over two contexts: all other parts of both modalities present, and all masked",
    4: "averaged over four contexts: the other parts of each modality present or masked",
}
"""Number of corners -> contexts of the other segments, in words."""

NAMED = 12
"""Largest number of segments that are named at the side of the matrix; if there are more, all are numbered."""

NAMES, LETTERS = 1.2, 15
"""Width of a segment's name at the side, in inches, and its largest number of letters."""

BELOW = 5
"""Largest number of segments that are named below the matrix."""

CAPTION = 13
"""Largest number of letters of a segment's name below a map."""

ROW, TALLEST = 0.2, 2.4
"""Inches: height of a row of the matrix, and largest height of the matrix."""

ACROSS = 3
"""Number of panels side by side."""


def interaction_records(result: CrossModalResult, key: str, drawing: DrawingContext, when: str) -> Sequence[Record]:
    """Draw a picture for every example and pair of modalities, and list the strongest interactions."""
    canvas = Canvas()
    pictures = [
        _Picture(drawing, canvas, result, found, place, when).drawn(key)
        for found in result.examples
        for place in range(len(found.outputs[0].pairs))
    ]
    return [*pictures, _table(result, key, drawing, when)] if pictures else []


@dataclass(frozen=True)
class _Picture:
    """One example's picture of one pair of modalities."""

    drawing: DrawingContext
    canvas: Canvas
    result: CrossModalResult
    found: ExampleInteractions
    place: int
    when: str

    def drawn(self, key: str) -> Picture:
        canvas, headline = self.canvas, self.drawing.labels.title(self.found, self.when)
        title = title_lines(headline)
        blocks = [self._height(output.pairs[self.place]) for output in self.found.outputs]
        canvas.begin(0.1 + len(title) * LINE + sum(blocks) + 0.05)
        canvas.title(title)
        top = 0.1 + len(title) * LINE
        for output, height in zip(self.found.outputs, blocks, strict=True):
            self._draw_output(top, output)
            top += height
        pair = self.found.outputs[0].pairs[self.place]
        several = f"_{pair.first}+{pair.second}" if len(self.found.outputs[0].pairs) > 1 else ""
        place = f"{key}/example_{self.found.position}{several}"
        return canvas.picture(place, headline, keep=True, note=self._note())

    def _note(self) -> str:
        pair = self.found.outputs[0].pairs[self.place]
        because = f" ({pair.reason})" if pair.reason else ""
        beside = CONTEXTS[pair.corners] if pair.method == "difference" else AS_IT_IS
        return (
            f"Effect of two parts together, beyond their single effects, {beside}. Red raises the output, "
            f"blue lowers it. By {METHODS[pair.method]}{because}. {self.drawing.masked((pair.first, pair.second))}"
        )

    def _height(self, pair: PairInteraction) -> float:
        maps = sum(self._maps_height(pair, name) for name in (pair.first, pair.second))
        matrix = _matrix_height(_wide(pair)[2]) + 0.5 if pair.has_effect else 0.1
        return 2 * LINE + 0.04 + matrix + maps

    def _maps_height(self, pair: PairInteraction, name: str) -> float:
        rows = -(-(1 + len(self._chosen(name, pair))) // ACROSS)
        return LINE + rows * (self._map_height(pair.other(name)) + LINE + 0.05) + 0.07

    def _map_height(self, name: str) -> float:
        return PANEL * self.drawing.modality_types[name].aspect(self.found.example, inputs=self.drawing.show_inputs)

    def _draw_output(self, top: float, output: OutputInteractions) -> None:
        canvas, pair = self.canvas, output.pairs[self.place]
        said = self.drawing.labels.valued(output.output, output.role, output.value)
        canvas.text(MARGIN, top, said, fontsize=8, color="#222222")
        colours, top = diverging(float(pair.weights.abs().max()) if pair.has_effect else 0.0), top + LINE + 0.03
        top = self._draw_matrix(top, pair, colours) if pair.has_effect else self._say_none(top, pair)
        for name in (pair.first, pair.second):
            top = self._draw_maps(top, pair, name, colours)

    def _say_none(self, top: float, pair: PairInteraction) -> float:
        """Write that no interaction is larger than rounding; nothing else is drawn."""
        said = f"No part of {pair.first} acts together with a part of {pair.second}."
        self.canvas.text(MARGIN, top, said, fontsize=8)
        return top + LINE + 0.1

    def _draw_matrix(self, top: float, pair: PairInteraction, colours: "ScalarMappable") -> float:
        """Draw the matrix: rows are segments of the modality with fewer segments, columns those of the other one."""
        down, across, weights = _wide(pair)
        height, width = _matrix_height(weights), WIDTH - 2 * MARGIN - NAMES - SCALE
        self.canvas.text(MARGIN + NAMES, top, f"parts of {down} by parts of {across}", fontsize=8.5)
        panel = self.canvas.panel(MARGIN + NAMES, top + LINE, width, height, "matrix")
        if weights.numel():
            panel.imshow(colours.to_rgba(weights.numpy()), aspect="auto", interpolation="nearest")
            _label(panel, self._names(down), self._names(across), across)
        self.canvas.scale(MARGIN + NAMES + width + 0.06, top + LINE, height, colours)
        return top + LINE + height + 0.5

    def _draw_maps(self, top: float, pair: PairInteraction, name: str, colours: "ScalarMappable") -> float:
        """Draw the other modality's input, then maps of its interactions with some segments of the named modality."""
        other, example, inputs = pair.other(name), self.found.example, self.drawing.show_inputs
        modality_type, names, weights = self.drawing.modality_types[other], self._names(name), pair.of(name)
        height, chosen = self._map_height(other), self._chosen(name, pair)
        if chosen:
            self.canvas.text(MARGIN, top, f"{other}, then its parts together with one of {name}", fontsize=8.5)
        captions = ["", *distinct([names[segment] for segment in chosen], CAPTION)]
        for place, segment in enumerate((None, *chosen)):
            left = MARGIN + place % ACROSS * (PANEL + GAP)
            below = top + LINE + place // ACROSS * (height + LINE + 0.05)
            panel = self.canvas.panel(left, below, PANEL, height, f"{other} {'input' if segment is None else 'map'}")
            if segment is not None:
                modality_type.paint(panel, example, weights[segment].numpy(), colours, inputs=inputs)
            elif inputs:
                self.drawing.draw_input(panel, other, example)
            hidden = other if inputs else f"{other} (not shown)"
            caption = hidden if segment is None else f"with {captions[place]}"
            self.canvas.text(left + PANEL / 2, below + height + 0.03, caption, ha="center", fontsize=8)
        return top + self._maps_height(pair, name)

    def _names(self, name: str) -> Sequence[str]:
        return self.drawing.modality_types[name].names(self.found.example, inputs=self.drawing.show_inputs)

    def _chosen(self, name: str, pair: PairInteraction) -> list[int]:
        """Return the segments whose maps are drawn: the requested ones, otherwise those that interact most."""
        if not pair.has_effect:
            return []
        weights = pair.of(name)
        wanted, names = self.result.segments.get(name, ()), self._names(name)
        named = [segment for segment in range(len(weights)) if segment in wanted or names[segment] in wanted]
        top: list[int] = weights.abs().sum(1).argsort(descending=True, stable=True).tolist()
        return named or top[: self.result.top_segments]


def _wide(pair: PairInteraction) -> tuple[str, str, Tensor]:
    """Return the modality of the rows, the modality of the columns, and the ``(rows, columns)`` weights."""
    if pair.weights.shape[0] <= pair.weights.shape[1]:
        return pair.first, pair.second, pair.weights
    return pair.second, pair.first, pair.weights.T


def _matrix_height(weights: Tensor) -> float:
    return min(TALLEST, max(2 * ROW, ROW * len(weights)))


def _label(panel: "Axes", down: Sequence[str], across: Sequence[str], name: str) -> None:
    """Write the names of segments if there is room, otherwise their numbers, from 1."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if len(down) <= NAMED:
        panel.set_yticks(range(len(down)), _written(down, LETTERS), fontsize=8, parse_math=False)
    if len(across) <= BELOW:
        panel.set_xticks(range(len(across)), _written(across, 9), fontsize=8, parse_math=False)
    for axis, segments in ((panel.yaxis, down), (panel.xaxis, across)):
        if not len(axis.get_ticklocs()):
            axis.set_major_locator(MaxNLocator(8, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda value, _, segments=segments: _number(value, len(segments))))
    panel.tick_params(labelsize=8, length=2)
    panel.set_xlabel(f"part of {legible(name)}", fontsize=8, labelpad=1)


def _written(segments: Sequence[str], letters: int) -> Sequence[str]:
    return distinct([legible(segment) for segment in segments], letters)


def _number(value: float, count: int) -> str:
    return f"{round(value) + 1}" if 0 <= value < count else ""


def _table(result: CrossModalResult, key: str, drawing: DrawingContext, when: str) -> Table:
    columns = ["when", "example", *drawing.labels.region_column, "output", "value", "modalities", "method"]
    rows: list[list[str | float | Pixels]] = [
        [
            when,
            found.position,
            *drawing.labels.region_cell(found.example),
            drawing.labels.output(output.output),
            output.value,
            f"{drawing.called(pair.first)}, {drawing.called(pair.second)}",
            METHODS[pair.method],
            "; ".join(_strongest(drawing, found.example, pair)),
        ]
        for found in result.examples
        for output in found.outputs
        for pair in output.pairs
    ]
    return Table(f"{key}/examples", [*columns, "parts that act together most"], rows)


def _strongest(drawing: DrawingContext, example: int, pair: PairInteraction, count: int = 5) -> Iterator[str]:
    """Yield the pairs of segments with the strongest interactions, in words."""
    if not pair.has_effect:
        return
    names = [
        drawing.modality_types[name].names(example, inputs=drawing.show_inputs) for name in (pair.first, pair.second)
    ]
    flat = pair.weights.flatten()
    for place in strongest_places(flat, count):
        u, v = divmod(place, pair.weights.shape[1])
        yield f"{names[0][u]} x {names[1][v]} {format_weight(float(flat[place]))}"
