"""Small thumbnails of the inputs of a few examples, for pictures with other content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.text import Text
from mviz_lightning.plotting.canvas import DPI, WIDTH, Canvas
from mviz_lightning.plotting.panels import MARGIN
from mviz_lightning.plotting.system_fonts import FONT_FAMILY
from mviz_lightning.plotting.text_fitting import FONT_SIZE, character_width, shortened

MODALITIES = 3
"""Largest number of drawn modalities, in declared order."""

WIDEST, ACROSS = 1.1, 2.0
"""In inches: largest width of a modality's column, and of all columns together."""

GAP = 0.05
"""Gap around a thumbnail, in inches."""


@dataclass(frozen=True)
class Stamps:
    """Columns at the right border of a picture, one for each modality that is legible at this size.

    Attributes:
        drawing: Modality types and the explained regions.
        modality_types: Types of the modalities with pictures or words, by name; empty if inputs may not be shown.
        each: Number of examples side by side; words are below each other.
    """

    drawing: DrawingContext
    modality_types: Mapping[str, ModalityType]
    each: int

    @classmethod
    def of(cls, drawing: DrawingContext, each: int) -> "Stamps":
        """Return the columns for the inputs of examples."""
        types = drawing.modality_types.items() if drawing.show_inputs else ()
        legible = ((name, one) for name, one in types if one.thumbnail or isinstance(one, Text))
        return cls(drawing, dict(islice(legible, MODALITIES)), each)

    @property
    def width(self) -> float:
        """Width of a column, in inches."""
        return min(WIDEST, ACROSS / max(1, len(self.modality_types)))

    @property
    def left(self) -> float:
        """Left border of the first column, in inches."""
        return WIDTH - MARGIN - self.width * len(self.modality_types)

    def draw(self, canvas: Canvas, top: float, height: float, examples: Sequence[int]) -> None:
        """Draw a row of thumbnails. ``height`` is in inches."""
        for column, (name, modality_type) in enumerate(self.modality_types.items()):
            left = self.left + column * self.width
            if isinstance(modality_type, Text):
                self._write(canvas, left, top + height / 2, modality_type, examples)
            else:
                self._show(canvas, left, top + GAP / 2, height - GAP, name, examples)

    def _write(self, canvas: Canvas, left: float, middle: float, modality_type: Text, examples: Sequence[int]) -> None:
        letters = int((self.width - GAP) * DPI / character_width(FONT_SIZE, DPI))
        lines = [shortened(" ".join(modality_type.names(example)) or "(no text)", letters) for example in examples]
        style = {"family": FONT_FAMILY, "fontsize": FONT_SIZE, "va": "center", "linespacing": 1.1}
        canvas.text(left, middle, "\n".join(lines), **style)

    def _show(
        self,
        canvas: Canvas,
        left: float,
        top: float,
        height: float,
        name: str,
        examples: Sequence[int],
    ) -> None:
        room = self.width / self.each - GAP
        for place, example in enumerate(examples):
            aspect = self.modality_types[name].aspect(example)
            width = min(room, height / aspect)
            panel = canvas.panel(left + place * (room + GAP), top, width, width * aspect, "stamp")
            self.drawing.draw_input(panel, name, example)
