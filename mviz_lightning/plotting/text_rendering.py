"""Text as pixels, drawn by Pillow; imported when a picture is drawn, since it needs matplotlib."""

import re
from functools import cache
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from PIL import Image, ImageDraw, ImageFont

ASCENT = 0.76
"""Height of a line above its baseline, as a fraction of the font size (the value of the DejaVu fonts)."""

MARGIN = 2
"""Pixels around the text: some letters exceed their boxes."""

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
        letters = font(self.get_fontproperties(), size, simple=not COMPLEX_SCRIPTS.search(words))
        lines, pitch, up = words.split("\n"), self._pitch * letters.size, ASCENT * letters.size
        below, share = (len(lines) - 1) * pitch, ALIGNMENTS[self.get_horizontalalignment()]
        feet = {"top": -up, "bottom": letters.size - up + below, "center": (letters.size + below) / 2 - up}
        x, y = map(float, self.get_transform().transform(self.get_unitless_position()))
        foot = y + {"center_baseline": -up / 2, "baseline": below, **feet}[self.get_verticalalignment()]
        if hasattr(renderer, "buffer_rgba"):
            mask = _mask(lines, letters, round(up), pitch, share)
            left = round(x - share * (mask.shape[1] - 2 * MARGIN)) - MARGIN
            drawn = _tinted(mask, self.get_color(), self._back)
            renderer.draw_image(renderer.new_gc(), left, round(foot) + round(up) + MARGIN - len(mask), drawn[::-1])
        else:
            for number, line in enumerate(lines):
                width = letters.getlength(line)
                self._write(renderer, line, x - share * width, foot - number * pitch, width)

    def _write(self, renderer: RendererBase, line: str, x: float, foot: float, width: float) -> None:
        """Write a line as letters into a file of vectors, on a rectangle of the colour behind it."""
        style, size = renderer.new_gc(), renderer.points_to_pixels(self.get_fontsize())
        if self._back is not None:
            place = Affine2D().scale(width, size).translate(x, foot - (1 - ASCENT) * size)
            style.set_linewidth(0)
            renderer.draw_path(style, Path.unit_rectangle(), place, to_rgba(self._back))
        style.set_foreground(self.get_color())
        y = renderer.get_canvas_width_height()[1] - foot if renderer.flipy() else foot
        renderer.draw_text(style, x, y, line, self.get_fontproperties(), 0)


def _mask(
    lines: list[str], letters: ImageFont.FreeTypeFont, up: int, pitch: float, share: float
) -> npt.NDArray[np.uint8]:
    """Return how much of every pixel the letters cover, ``(H, W)`` in 0..255; the first line rises ``up`` pixels."""
    widths = [letters.getlength(line) for line in lines]
    feet = [MARGIN + up + round(number * pitch) for number in range(len(lines))]
    page = Image.new("L", (ceil(max(widths)) + 2 * MARGIN, feet[-1] + ceil(letters.size / 3) + MARGIN))
    pen = ImageDraw.Draw(page)
    for line, width, foot in zip(lines, widths, feet, strict=True):
        pen.text((MARGIN + round(share * (max(widths) - width)), foot), line, 255, letters, anchor="ls")
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


@cache
def font(properties: FontProperties, pixels: float, *, simple: bool = True) -> ImageFont.FreeTypeFont:
    """Return Pillow's font for a style.

    Args:
        properties: Family, weight and style.
        pixels: Font size in pixels.
        simple: Whether to skip the layout of complex scripts: letters run from left to right, each in one form.
    """
    return ImageFont.truetype(findfont(properties), pixels, layout_engine=ImageFont.Layout.BASIC if simple else None)
