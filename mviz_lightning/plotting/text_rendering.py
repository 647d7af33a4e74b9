"""Text as pixels, drawn by Pillow; imported when a picture is drawn, since it needs matplotlib."""

import re
from collections.abc import Iterator
from functools import cache
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from PIL import Image, ImageDraw, ImageFont

from mviz_lightning.plotting.system_fonts import FONT_FAMILY, cells, parts

ASCENT = 0.76
"""Height of a line above its baseline, as a fraction of the font size (the value of the DejaVu fonts)."""

MARGIN = 2
"""Pixels around the text: some letters exceed their boxes."""

MEASURED = 100.0
"""Font size in pixels at which text is measured: large, so that the rounding of letters to pixels does not count."""

COMPLEX_SCRIPTS = re.compile("[\u0590-\u1dff]")
"""Letters of scripts that run from right to left, or whose letters change beside one another (Arabic, Devanagari)."""

ALIGNMENTS = {"left": 0.0, "center": 0.5, "right": 1.0}
"""Place of a line's anchor, as a fraction of its width, by horizontal alignment."""


class PillowText(Text):
    """Horizontal text without formulas, drawn by Pillow: matplotlib takes ten times as long.

    In files of vectors it stays text, which matplotlib writes.

    Args:
        x: Horizontal place, as of :class:`matplotlib.text.Text`.
        y: Vertical place.
        words: One or more lines.
        linespacing: Distance between lines, as a multiple of the font size.
        back: Colour behind the text; none by default.
        style: Further arguments of :class:`matplotlib.text.Text`.
    """

    def __init__(
        self, x: float, y: float, words: str, *, linespacing: float = 1.2, back: Any = None, **style: Any
    ) -> None:
        super().__init__(x, y, words, linespacing=linespacing, **style)
        self._pitch, self._back = linespacing, back

    def draw(self, renderer: RendererBase) -> None:
        """Draw the text, as pixels at whole pixels."""
        words = self.get_text()
        if not (words and self.get_visible()):
            return
        size: Any = renderer.points_to_pixels(self.get_fontsize())
        simple, pixels = not COMPLEX_SCRIPTS.search(words), hasattr(renderer, "buffer_rgba")
        letters = Letters(self.get_fontproperties(), size if pixels else MEASURED, simple=simple)
        lines, pitch, up = words.split("\n"), self._pitch * size, ASCENT * size
        below, share = (len(lines) - 1) * pitch, ALIGNMENTS[self.get_horizontalalignment()]
        feet = {"top": -up, "bottom": size - up + below, "center": (size + below) / 2 - up}
        x, y = map(float, self.get_transform().transform(self.get_unitless_position()))
        foot = y + {"center_baseline": -up / 2, "baseline": below, **feet}[self.get_verticalalignment()]
        if pixels:
            mask = _mask(lines, letters, round(up), pitch, share)
            left = round(x - share * (mask.shape[1] - 2 * MARGIN)) - MARGIN
            drawn = _tinted(mask, self.get_color(), self._back)
            renderer.draw_image(renderer.new_gc(), left, round(foot) + round(up) + MARGIN - len(mask), drawn[::-1])
        else:
            for number, line in enumerate(lines):
                length = letters.length(line) * size / MEASURED
                self._write(renderer, letters, line, x - share * length, foot - number * pitch, size / MEASURED)

    def _write(
        self, renderer: RendererBase, letters: "Letters", line: str, x: float, foot: float, scale: float
    ) -> None:
        """Write a line as letters into a file of vectors, on a rectangle of the colour behind it.

        Args:
            renderer: What writes the file.
            letters: The letters at the size at which they are measured.
            line: The text.
            x: Left end of the line.
            foot: Its baseline.
            scale: Size of the letters, as a multiple of the size at which they are measured.
        """
        style = renderer.new_gc()
        if self._back is not None:
            height = letters.size * scale
            place = Affine2D().scale(letters.length(line) * scale, height).translate(x, foot - (1 - ASCENT) * height)
            style.set_linewidth(0)
            renderer.draw_path(style, Path.unit_rectangle(), place, to_rgba(self._back))
        style.set_foreground(self.get_color())
        y = renderer.get_canvas_width_height()[1] - foot if renderer.flipy() else foot
        for part in letters.placed(line):
            properties = self.get_fontproperties().copy()
            if part.path is not None:
                properties.set_family(family_of(part.path))
            renderer.draw_text(style, x + part.place * scale, y, part.text, properties, 0)


def _mask(lines: list[str], letters: "Letters", up: int, pitch: float, share: float) -> npt.NDArray[np.uint8]:
    """Return how much of every pixel the letters cover, ``(H, W)`` in 0..255; the first line rises ``up`` pixels."""
    widths = [letters.length(line) for line in lines]
    feet = [MARGIN + up + round(number * pitch) for number in range(len(lines))]
    page = Image.new("L", (ceil(max(widths)) + 2 * MARGIN, feet[-1] + ceil(letters.size / 3) + MARGIN))
    pen = ImageDraw.Draw(page)
    for line, width, foot in zip(lines, widths, feet, strict=True):
        start = MARGIN + round(share * (max(widths) - width))
        for part in letters.placed(line):
            pen.text((start + part.place, foot), part.text, 255, part.font, anchor="ls")
    return np.asarray(page)


def _tinted(mask: npt.NDArray[np.uint8], colour: Any, back: Any = None) -> npt.NDArray[np.uint8]:
    """Return text of a colour over a transparent background or another colour, ``(H, W, 4)`` in 0..255."""
    if back is not None:
        share = mask[..., None] / 255
        mixed = np.array(to_rgba(colour)) * share + np.array(to_rgba(back)) * (1 - share)
        return np.rint(255 * mixed).astype(np.uint8)
    red, green, blue, strength = to_rgba(colour)
    tinted = np.empty((*mask.shape, 4), dtype=np.uint8)
    tinted[..., :3] = np.rint(255 * np.array([red, green, blue]))
    tinted[..., 3] = mask if strength == 1 else np.rint(mask * strength)
    return tinted


class PlacedText(NamedTuple):
    """A part of a line: its place in pixels from the start, its letters, their font and its file, None for our own."""

    place: float
    text: str
    font: ImageFont.FreeTypeFont
    path: str | None


class Letters:
    """The letters of a style at a size: of our own font, or of the system's fonts where it lacks them.

    Args:
        properties: Family, weight and style of our own font.
        pixels: Font size in pixels.
        simple: Whether to skip the layout of complex scripts: letters run from left to right, each in one form.

    Attributes:
        size: Font size in pixels.
    """

    def __init__(self, properties: FontProperties, pixels: float, *, simple: bool) -> None:
        self._own, self._simple = font(properties, pixels, simple=simple), simple
        self._cell = self._own.getlength("0") if FONT_FAMILY in properties.get_family() else 0.0
        self.size = self._own.size

    def placed(self, line: str) -> Iterator[PlacedText]:
        """Yield the parts of a line, each of one font; in monospaced text letters of other fonts keep to the cells."""
        place = 0.0
        for path, text in parts(line):
            own = self._own if path is None else font(path, self.size, simple=self._simple)
            for piece in text if path and self._cell and not COMPLEX_SCRIPTS.search(text) else [text]:
                width = own.getlength(piece)
                room = self._cell * cells(piece) if path and self._cell else width
                yield PlacedText(place + (room - width) / 2, piece, own, path)
                place += room

    def length(self, line: str) -> float:
        """Return the width of a line in pixels."""
        *_, last = [PlacedText(0, "", self._own, None), *self.placed(line)]
        return last.place + last.font.getlength(last.text)


def width_of_bold(line: str) -> float:
    """Return the width of a bold line, as a multiple of the font size."""
    return Letters(FontProperties(weight="bold"), MEASURED, simple=True).length(line) / MEASURED


@cache
def family_of(path: str) -> str | None:
    """Return the family of a font file, which matplotlib then knows."""
    fontManager.addfont(path)
    return ImageFont.truetype(path).getname()[0]


@cache
def font(style: FontProperties | str, pixels: float, *, simple: bool = True) -> ImageFont.FreeTypeFont:
    """Return Pillow's font for a style, or for a file.

    Args:
        style: Family, weight and style; or the path of a font file.
        pixels: Font size in pixels.
        simple: Whether to skip the layout of complex scripts: letters run from left to right, each in one form.
    """
    path = style if isinstance(style, str) else findfont(style)
    return ImageFont.truetype(path, pixels, layout_engine=ImageFont.Layout.BASIC if simple else None)
