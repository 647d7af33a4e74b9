"""Pictures of each modality's effects by position, on one scale, beside labels and predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.position_effects.result import PositionEffectsResult, PositionMaps
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.plotting.canvas import WIDTH, Canvas, title_lines
from mviz_lightning.plotting.panels import COLOURS, GAP, LINE, MARGIN
from mviz_lightning.plotting.text_fitting import shortened
from mviz_lightning.sinks.records import Picture, Pixels, Record, Table

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

DrawPanel: TypeAlias = Callable[[Any], object]
"""Draws into an empty panel."""

COLUMNS = 2
"""Number of panels side by side."""

BAR = 0.75
"""Inches: width of the colour bar and its numbers."""

PANEL = (WIDTH - 2 * MARGIN - GAP - BAR) / COLUMNS
"""Inches: width of a panel."""

ROW = 0.32
"""Inches: height of a modality's row of colours below a sequence."""

TOKENS = 7
"""Largest number of positions of a sequence in a line."""

WORD = 5
"""Largest number of letters of a token."""

LETTER = 0.075
"""Inches: mean width of a letter in the legend."""

UNLABELLED = "#bbbbbb"
"""Colour of positions without a label."""

UNIT = "effects in % of the outputs' variance"
"""Unit of the colours."""

NOTE = (
    "Colours: what changes at a position without the modality; 100 % is the outputs' variance, averaged over "
    "positions. These maps have one scale; other examples have another."
)
"""How to read the maps."""


def effect_records(
    result: PositionEffectsResult, name: str, drawing: DrawingContext, when: str = ""
) -> Sequence[Record]:
    """Draw each example and list all in a table."""
    figure = EffectsFigure(drawing, name, result.modalities, when)
    drawn = drawing.each(lambda found: (found, figure.picture(found)), result.effects)
    return [*(picture for _, picture in drawn), *drawing.each(figure.table, [drawn] if drawn else [])]


@dataclass(frozen=True)
class EffectsFigure:
    """Draws the maps of one method at one moment.

    Attributes:
        drawing: Modality types, labels and the canvas.
        name: Name of the explainer.
        modalities: Names of the modalities.
        when: Moment of the training in words.
    """

    drawing: DrawingContext
    name: str
    modalities: Sequence[str]
    when: str = ""

    def picture(self, found: PositionMaps) -> Picture:
        """Draw one example."""
        moment = f", {self.when}" if self.when else ""
        where = "".join(f", {words}" for words in self.drawing.slice_words(found.example))
        headline = f"Example {found.position}{moment}{where}: where each modality matters"
        canvas, title = self.drawing.canvas, title_lines(headline)
        colours = _scale(found.effects)
        draw = self._draw_maps if found.cells is None else self._draw_sequence
        height = self._height(found)
        top = 0.1 + LINE * len(title)
        canvas.begin(top + LINE + height + 0.05)
        canvas.title(title)
        canvas.text(MARGIN, top, UNIT, fontsize=8, color="#555555")
        draw(canvas, top + LINE, found, colours)
        return canvas.picture(f"{self.name}/example_{found.position}", headline, keep=True, note=NOTE)

    def _height(self, found: PositionMaps) -> float:
        if found.cells is not None:
            return -(-len(found.cells) // TOKENS) * ((len(self.modalities) + 2) * ROW + LINE) + 0.1
        rows = -(-len(self._panels(found, _scale(found.effects))) // COLUMNS)
        return rows * (PANEL * _aspect(found.effects) + LINE + 0.08) + LINE

    def _panels(self, found: PositionMaps, colours: "ScalarMappable") -> list[tuple[str, DrawPanel]]:
        """Return the title and the drawing function of each panel: pictures of inputs, classes, then effects."""
        types = self.drawing.modality_types.items() if self.drawing.show_inputs else ()
        pictures = [name for name, one in types if hasattr(one, "pixels")]
        shown: list[tuple[str, DrawPanel]] = [
            (name, partial(self.drawing.draw_slice, name=name, example=found.example)) for name in pictures
        ]
        classes = (("labels", found.labels), ("prediction", found.decisions))
        images = [(name, self._classes(one)) for name, one in classes if one is not None]
        effects = zip(self.modalities, found.effects, strict=True)
        images += [(f"effect of {name}", colours.to_rgba(_flat(one).numpy())) for name, one in effects]
        return shown + [(words, partial(_show, image=image)) for words, image in images]

    def _draw_maps(self, canvas: Canvas, top: float, found: PositionMaps, colours: "ScalarMappable") -> None:
        height = PANEL * _aspect(found.effects)
        panels = self._panels(found, colours)
        first = len(panels) - len(self.modalities)
        for place, (words, draw) in enumerate(panels):
            left, row = MARGIN + place % COLUMNS * (PANEL + GAP), place // COLUMNS
            below = top + row * (height + LINE + 0.08)
            canvas.text(left + PANEL / 2, below, words, ha="center", fontsize=8.5)
            draw(canvas.panel(left, below + LINE, PANEL, height, words))
        rows = -(-len(panels) // COLUMNS)
        self._draw_legend(canvas, top + rows * (height + LINE + 0.08) + 0.02, found)
        bar = top + first // COLUMNS * (height + LINE + 0.08) + LINE
        _bar(canvas, MARGIN + COLUMNS * (PANEL + GAP), bar, height, colours)

    def _draw_legend(self, canvas: Canvas, top: float, found: PositionMaps) -> None:
        """Draw the legend: the classes that occur, each with its colour."""
        maps = [one for one in (found.labels, found.decisions) if one is not None]
        classes = sorted({int(k) for one in maps for k in one.flatten().tolist()})
        left = MARGIN
        for number in classes:
            words = "no label" if number < 0 else self.drawing.labels.outcome(number)
            colour = UNLABELLED if number < 0 else COLOURS[number % len(COLOURS)]
            width = 0.25 + LETTER * len(words)
            if left + width > WIDTH - MARGIN:  # there is no room for further classes
                break
            canvas.panel(left, top + 0.02, 0.11, 0.11, "legend").set_facecolor(colour)
            canvas.text(left + 0.15, top, words, fontsize=8)
            left += width

    def _draw_sequence(self, canvas: Canvas, top: float, found: PositionMaps, colours: "ScalarMappable") -> None:
        cells = found.cells
        if cells is None:
            return
        words = self.drawing.words_of(found.example, len(cells))
        width = (WIDTH - 2 * MARGIN - BAR - 1.1) / TOKENS
        block = (len(self.modalities) + 2) * ROW + LINE
        painted = colours.to_rgba(found.effects.numpy())
        for place, cell in enumerate(cells.tolist()):
            left, row = MARGIN + 1.1 + place % TOKENS * width, top + place // TOKENS * block
            canvas.text(left, row + 2 * ROW - 0.03, shortened(words[place], WORD), fontsize=8, va="bottom")
            for m in range(len(self.modalities)):
                panel = canvas.panel(left, row + (2 + m) * ROW, width, ROW * 0.9, "cell")
                panel.set_facecolor(painted[m, cell])
        for line in range(-(-len(cells) // TOKENS)):
            for m, name in enumerate(self.modalities):
                canvas.text(MARGIN, top + line * block + (2.2 + m) * ROW, name, fontsize=8)
        _bar(canvas, WIDTH - MARGIN - BAR + 0.1, top + 2 * ROW, len(self.modalities) * ROW + 0.2, colours)

    def _classes(self, classes: Tensor) -> npt.NDArray[Any]:
        """Return the colours of classes, ``(H, W, 3)``; after seven classes colours repeat."""
        from matplotlib.colors import to_rgb

        palette = np.array([*map(to_rgb, COLOURS), to_rgb(UNLABELLED)])
        flat = _flat(classes).numpy()
        colours: npt.NDArray[Any] = palette[np.where(flat < 0, len(COLOURS), flat % len(COLOURS))]
        return colours

    def table(self, drawn: Sequence[tuple[PositionMaps, Picture]]) -> Table:
        """List the examples with the mean effect of each modality."""
        columns = ["when", "example", "picture", *(f"mean effect of {name}" for name in self.modalities)]
        columns += [f"{name} matters most" for name in self.modalities]
        rows: list[list[str | float | Pixels]] = []
        for found, picture in drawn:
            means, most = found.effects.flatten(1).mean(1).tolist(), found.effects.argmax(0)
            shares = [float((most == m).double().mean()) for m in range(len(self.modalities))]
            rows.append([self.when, found.position, picture.pixels, *means, *shares])
        return Table(f"{self.name}/examples", columns, rows)


def _flat(values: Tensor) -> Tensor:
    """Return a map with two axes; other maps become one row."""
    return values if values.dim() == 2 else values.reshape(1, -1)


def _aspect(effects: Tensor) -> float:
    height, width = _flat(effects[0]).shape
    return min(2.0, max(0.08, height / width))


def _scale(effects: Tensor) -> "ScalarMappable":
    """Return one colour scale for all maps, from 0 on, that is also legible with colour blindness."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, float(effects.max()) or 1.0), colormaps["cividis"])


def _show(panel: Any, image: npt.NDArray[Any]) -> None:
    panel.imshow(image, interpolation="nearest", aspect="auto")


def _bar(canvas: Canvas, left: float, top: float, height: float, colours: "ScalarMappable") -> None:
    """Draw a colour bar from 0 to the largest effect, in percent."""
    largest = float(colours.get_clim()[1] or 1)
    steps = np.linspace(largest, 0, max(2, round(height * 100)))
    panel = canvas.panel(left, top, 0.1, height, "bar")
    panel.imshow(colours.to_rgba(steps)[:, None], aspect="auto")
    for share, value in ((0.0, largest), (0.5, largest / 2), (1.0, 0.0)):
        canvas.text(left + 0.13, top + share * height, f"{fixed(100 * value, 0)} %", va="center", fontsize=8)
