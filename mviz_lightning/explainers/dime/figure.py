"""DIME's explanations as pictures (inputs beside the maps of UC and MI), and as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mviz_lightning.explainers.dime.result import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.plotting.canvas import Canvas, diverging, title_lines
from mviz_lightning.plotting.labels import format_weight, strongest_places
from mviz_lightning.plotting.panels import GAP, LINE, MARGIN, PANEL
from mviz_lightning.plotting.trust import TRUSTED, shown, verdict
from mviz_lightning.sinks.records import Picture, Pixels, Record, Table


def explanation_records(
    explanations: Sequence[Explanation], name: str, drawing: DrawingContext, when: str = ""
) -> list[Record]:
    """Draw explanations and list them in a table; a picture that fails is left out."""
    figure = ExplanationFigure(drawing, name, when)
    drawn = drawing.each(lambda found: (found, figure.picture(found)), explanations)
    return [*(picture for _, picture in drawn), *drawing.each(figure.table, [drawn] if drawn else [])]


@dataclass(frozen=True)
class ExplanationFigure:
    """Draws the explanations of one method at one moment.

    Attributes:
        drawing: Modality types, labels and the canvas.
        name: Name of the explainer.
        when: Moment of the training in words.
    """

    drawing: DrawingContext
    name: str
    when: str = ""

    def picture(self, explanation: Explanation) -> Picture:
        """Draw one example's explanation."""
        headline = self.drawing.labels.title(explanation, self.when)
        title = title_lines(headline)
        example, inputs = explanation.example, self.drawing.show_inputs
        heights = {
            name: PANEL * modality_type.aspect(example, inputs=inputs)
            for name, modality_type in self.drawing.modality_types.items()
        }
        block = 2 * LINE + 0.08 + sum(height + LINE + 0.1 for height in heights.values())
        canvas = self.drawing.canvas
        canvas.begin(0.1 + len(title) * LINE + len(explanation.outputs) * block + 0.05)
        canvas.title(title)
        top = 0.1 + len(title) * LINE
        for output in explanation.outputs:
            self._draw_output(canvas, top, example, output, heights)
            top += block
        key = f"{self.name}/example_{explanation.position}"
        return canvas.picture(key, headline, keep=True, note=self._note())

    def _note(self) -> str:
        return (
            "UC: what a part adds by itself. MI: what it adds together with the other modalities of this example. "
            "±: 95 % interval of UC and MI. R²: how well a map predicts the output on "
            "held-out masks; a faint map is unreliable. "
            f"Red raises the output, blue lowers it. {self.drawing.masked(self.drawing.modality_types)}"
            f"{self.drawing.outlined}"
        )

    def _draw_output(
        self, canvas: Canvas, top: float, example: int, output: OutputExplanation, heights: Mapping[str, float]
    ) -> None:
        canvas.text(
            MARGIN,
            top,
            self.drawing.labels.decomposition(
                output.output, output.role, output.unimodal, output.interaction, output.value, output.error
            ),
            fontsize=8,
            color="#222222",
        )
        headings = ("input", "alone (UC)", "together (MI)")
        for column, heading in enumerate(headings):
            canvas.text(_left(column) + PANEL / 2, top + LINE + 0.03, heading, ha="center", fontsize=8.5)
        top += 2 * LINE + 0.04
        for name, height in heights.items():
            self._draw_modality(canvas, top, name, example, output.parts[name], height)
            top += height + LINE + 0.1

    def _draw_modality(
        self, canvas: Canvas, top: float, name: str, example: int, part: Attribution, height: float
    ) -> None:
        modality_type, inputs = self.drawing.modality_types[name], self.drawing.show_inputs
        maps = ((part.unimodal, part.unimodal_r2), (part.interaction, part.interaction_r2))
        colours = diverging(largest(part))
        below = top + height + 0.02
        panel = canvas.panel(_left(0), top, PANEL, height, f"{name} input")
        if inputs:
            self.drawing.draw_input(panel, name, example)
        canvas.text(_left(0) + PANEL / 2, below, name if inputs else f"{name} (not shown)", ha="center")
        for column, (weights, r2) in enumerate(maps, start=1):
            panel = canvas.panel(_left(column), top, PANEL, height, f"{name} map")
            modality_type.paint(panel, example, shown(weights, r2), colours, inputs=inputs)
            words, colour = verdict(r2)
            canvas.text(_left(column) + PANEL / 2, below, words, ha="center", fontsize=8, color=colour)
        if largest(part):  # otherwise the maps have no colours
            canvas.scale(_left(3) - GAP + 0.06, top, height, colours)

    def table(self, drawn: Sequence[tuple[Explanation, Picture]]) -> Table:
        """List explanations with their pictures."""
        labels = self.drawing.labels
        columns = ["when", "example", *labels.region_column, "picture", "target", "predicted", "output", "UC", "MI"]
        columns += ["error of MI", "drives UC", "drives MI"]
        rows: list[list[str | float | Pixels]] = [
            [
                self.when,
                explanation.position,
                *labels.region_cell(explanation.example),
                picture.pixels,
                labels.outcome(explanation.target),
                labels.outcome(explanation.predicted),
                labels.output(output.output),
                output.unimodal,
                output.interaction,
                math.nan if output.error is None else output.error,
                self._top_segments(explanation.example, output, "unimodal"),
                self._top_segments(explanation.example, output, "interaction"),
            ]
            for explanation, picture in drawn
            for output in explanation.outputs
        ]
        return Table(f"{self.name}/examples", columns, rows)

    def _top_segments(self, example: int, output: OutputExplanation, side: str) -> str:
        """Name the two strongest segments of every modality; a question mark follows if R2 is too low."""
        found = []
        for name, part in output.parts.items():
            weights = getattr(part, side)
            names = self.drawing.modality_types[name].names(example, inputs=self.drawing.show_inputs)
            r2 = getattr(part, f"{side}_r2")
            listed = ", ".join(
                f"{names[segment]} {format_weight(float(weights[segment]))}" for segment in strongest_places(weights, 2)
            )
            found.append(
                f"{self.drawing.called(name)}: "
                + (verdict(r2)[0] if math.isnan(r2) else listed + " (?)" * (r2 < TRUSTED))
            )
        return "; ".join(found)


def _left(column: int) -> float:
    return MARGIN + column * (PANEL + GAP)


def largest(*parts: Attribution) -> float:
    """Return the largest absolute weight of parts with an effect: the limit of the colour scale of UC and MI."""
    sides = [(part.unimodal, part.unimodal_r2) for part in parts]
    sides += [(part.interaction, part.interaction_r2) for part in parts]
    return max((float(found.abs().max()) for found, r2 in sides if len(found) and not math.isnan(r2)), default=0.0)
