"""An explanation as a picture: inputs, what drives UC and what drives MI, beside each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mviz_lightning.explainers import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.dime.result import TRUSTED
from mviz_lightning.modalities import ModalityType
from mviz_lightning.plotting.canvas import WIDTH, Canvas, diverging, wrapped
from mviz_lightning.plotting.labels import Labels, number
from mviz_lightning.plotting.trust import shown, verdict
from mviz_lightning.sinks.records import Picture, Pixels, Table

MARGIN, GAP, SCALE = 0.1, 0.1, 0.6
"""Inches: at the borders, between panels, for the colour bar and its numbers."""

PANEL = (WIDTH - 2 * MARGIN - 2 * GAP - SCALE) / 3
LINE = 0.19
"""Inches, of text."""


@dataclass(frozen=True)
class DrawingContext:
    """Draws explanations.

    Attributes:
        kinds: Modality -> how it is drawn.
        labels: How classes are called.
        show_inputs: Whether inputs may be seen.
    """

    kinds: Mapping[str, ModalityType]
    labels: Labels
    show_inputs: bool = True

    @cached_property
    def canvas(self) -> Canvas:
        """What is drawn on, picture after picture."""
        return Canvas()

    def records(self, explanations: Sequence[Explanation], method: str, when: str = "") -> list[Picture | Table]:
        """Draw explanations and list them in a table."""
        drawn = [(found, self.picture(found, method, when)) for found in explanations]
        tables = [self.table(drawn, f"{method}/examples", when)] if drawn else []
        return [*(picture for _, picture in drawn), *tables]

    def picture(self, explanation: Explanation, method: str, when: str = "") -> Picture:
        """Draw one example's explanation.

        Args:
            explanation: Of the example.
            method: Name of the explainer.
            when: In the training, in words.
        """
        headline = self.labels.title(explanation, when)
        title, footer = wrapped(headline, 68), wrapped(self._footer(), 112)
        heights = {
            name: PANEL * kind.aspect(explanation.example, inputs=self.show_inputs) for name, kind in self.kinds.items()
        }
        block = 2 * LINE + 0.08 + sum(height + LINE + 0.1 for height in heights.values())
        canvas = self.canvas
        canvas.begin(0.1 + len(title) * LINE + len(explanation.outputs) * block + len(footer) * 0.15 + 0.1)
        canvas.text(MARGIN, 0.08, "\n".join(title), fontsize=10, weight="bold", linespacing=1.1)
        top = 0.1 + len(title) * LINE
        for output in explanation.outputs:
            self._draw_output(canvas, top, explanation.example, output, heights)
            top += block
        canvas.text(MARGIN, top, "\n".join(footer), fontsize=7.5, color="#555555", linespacing=1.1)
        return Picture(f"{method}/example_{explanation.position}", canvas.pixels(), headline, keep=True)

    def _footer(self) -> str:
        masked = "; ".join(f"{name}: {kind.baseline}" for name, kind in self.kinds.items())
        return (
            "UC: what a part adds by itself. MI: what it adds together with the other modalities of this example. "
            f"Red raises the output, blue lowers it. Masked parts become: {masked}."
        )

    def _draw_output(
        self, canvas: Canvas, top: float, example: int, output: OutputExplanation, heights: Mapping[str, float]
    ) -> None:
        canvas.text(MARGIN, top, self.labels.decomposition(output), fontsize=9.5, color="#222222")
        headings = ("input", "unimodal contribution (UC)", "multimodal interaction (MI)")
        for column, heading in enumerate(headings):
            canvas.text(_left(column) + PANEL / 2, top + LINE + 0.03, heading, ha="center", fontsize=8.5)
        top += 2 * LINE + 0.04
        for name, height in heights.items():
            self._draw_modality(canvas, top, name, example, output.parts[name], height)
            top += height + LINE + 0.1

    def _draw_modality(
        self, canvas: Canvas, top: float, name: str, example: int, part: Attribution, height: float
    ) -> None:
        kind = self.kinds[name]
        maps = ((part.unimodal, part.unimodal_r2), (part.interaction, part.interaction_r2))
        colours = diverging(largest(part))
        below = top + height + 0.02
        panel = canvas.panel(_left(0), top, PANEL, height, f"{name} input")
        if self.show_inputs:
            kind.draw(panel, example)
        canvas.text(_left(0) + PANEL / 2, below, name if self.show_inputs else f"{name} (not shown)", ha="center")
        for column, (weights, r2) in enumerate(maps, start=1):
            panel = canvas.panel(_left(column), top, PANEL, height, f"{name} map")
            kind.paint(panel, example, shown(weights, r2), colours, inputs=self.show_inputs)
            words, colour = verdict(r2)
            canvas.text(_left(column) + PANEL / 2, below, words, ha="center", fontsize=8.5, color=colour)
        canvas.scale(_left(3) - GAP + 0.06, top, height, colours)

    def table(self, drawn: Sequence[tuple[Explanation, Picture]], key: str, when: str) -> Table:
        """List explanations with their pictures."""
        columns = ["when", "example", "picture", "target", "predicted", "output", "UC", "MI", "drives UC", "drives MI"]
        rows: list[list[str | float | Pixels]] = [
            [
                when,
                explanation.position,
                picture.pixels,
                self.labels.outcome(explanation.target),
                self.labels.outcome(explanation.predicted),
                self.labels.output(output.output),
                output.unimodal,
                output.interaction,
                self._top_segments(explanation.example, output, "unimodal"),
                self._top_segments(explanation.example, output, "interaction"),
            ]
            for explanation, picture in drawn
            for output in explanation.outputs
        ]
        return Table(key, columns, rows)

    def _top_segments(self, example: int, output: OutputExplanation, side: str) -> str:
        """Name the two strongest units of every modality; a question mark where they are not to be trusted."""
        found = []
        for name, part in output.parts.items():
            weights = getattr(part, side)
            names = self.kinds[name].names(example, inputs=self.show_inputs)
            top = weights.abs().argsort(descending=True)[:2].tolist()
            doubt = "" if getattr(part, f"{side}_r2") >= TRUSTED else " (?)"
            found += [
                f"{name}: "
                + ", ".join(f"{names[segment]} {number(float(weights[segment]))}" for segment in top)
                + doubt
            ]
        return "; ".join(found)


def _left(column: int) -> float:
    return MARGIN + column * (PANEL + GAP)


def largest(*parts: Attribution) -> float:
    """Return the largest absolute weight that has an effect, which UC and MI share as the end of their scale."""
    sides = [(part.unimodal, part.unimodal_r2) for part in parts]
    sides += [(part.interaction, part.interaction_r2) for part in parts]
    return max((float(found.abs().max()) for found, r2 in sides if len(found) and not math.isnan(r2)), default=0.0)
