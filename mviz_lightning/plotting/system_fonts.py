"""Fonts of the system for letters that the font of pictures lacks, such as Chinese ones and emojis."""

import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from operator import itemgetter

FONT_FAMILY = "DejaVu Sans Mono"
"""A monospaced font that comes with matplotlib."""

MISSING = "□"
"""Stands for a letter that no font has."""

EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
"""Starts of the names of letters in Unicode whose fonts have a package of their own."""

LISTED = 8
"""Largest number of letters that the line about missing fonts lists."""

TRIED_FONTS = 500
"""Largest number of font files in which a letter is looked up: for a letter that no font has, all of them are read."""

JOINERS = dict.fromkeys(map(ord, "\u200d\ufe0e\ufe0f"))
"""Invisible letters that choose the form of an emoji, or join several; they are left out."""

_without_font: dict[str, None] = {}
_in_use: dict[str, None] = {}


@cache
def own_letters() -> frozenset[str]:
    """Return the letters of the font of pictures."""
    from matplotlib.font_manager import findfont  # plotting is loaded when a picture is drawn, not at import

    return frozenset(letter for letter in map(chr, _letters_of(findfont(FONT_FAMILY))) if letter.isprintable())


@cache
def font_with(letter: str) -> str | None:
    """Return the file of a font of the system that has a letter; None for a letter of our own font, or of no font."""
    if letter in own_letters():
        return None
    path = next((path for path in _system_fonts() if ord(letter) in _letters_of(path)), None)
    if path is not None:
        _in_use[path] = None
    return path


def fonts_in_use() -> list[str]:
    """Return the files of the system's fonts that letters needed so far."""
    return list(_in_use)


def legible(text: str) -> str:
    """Return text in which a box stands for every letter that no font has; :func:`font_advice` then names them."""
    shown = []
    for letter in unicodedata.normalize("NFC", text.translate(JOINERS)):
        known = letter in own_letters() or (letter.isprintable() and font_with(letter) is not None)
        if not known and letter.isprintable():
            _without_font[letter] = None
        shown.append(letter if known else MISSING)
    return "".join(shown)


def font_advice() -> str:
    """Return one line that names the letters without a font so far, and the packages that bring one; ``""`` if none."""
    letters = list(_without_font)
    if not letters:
        return ""
    listed = "".join(letters[:LISTED]) + "..." * (len(letters) > LISTED)
    packages = " ".join(dict.fromkeys(map(_package, letters)))
    what = f"Install fonts: apt install {packages}" if sys.platform == "linux" else "Install a font that has them."
    return f"no font of this system has {listed}, so pictures show {MISSING} instead. {what}"


def parts(line: str) -> Iterator[tuple[str | None, str]]:
    """Yield the parts of a line: the file of their font, None for our own, and their letters.

    Spaces belong to the part before them: the words of a script that runs from right to left stay together.
    """
    if own_letters().issuperset(line):
        yield None, line
        return
    paths: list[str | None] = []
    for letter in line:
        paths.append(paths[-1] if letter == " " and paths else font_with(letter))
    for path, placed in groupby(zip(paths, line, strict=True), itemgetter(0)):
        yield path, "".join(letter for _, letter in placed)


def cells(text: str) -> int:
    """Return the width of monospaced text in cells: Chinese, Japanese and Korean letters and emojis take two."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


@cache
def _cells_of(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")


def _package(letter: str) -> str:
    """Return the package of Debian and Ubuntu with a font that has a letter."""
    if unicodedata.name(letter, "").startswith(EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter).startswith("S") else "fonts-noto-core"


@cache
def _system_fonts() -> list[str]:
    """Return the first font files, upright and sans serif first, so that letters go with those of our own font."""
    from matplotlib.font_manager import findSystemFonts

    unlike = ("Bold", "Italic", "Oblique", "Serif", "Mono", "Light", "Black", "Thin")
    return sorted(findSystemFonts(), key=lambda path: (sum(word in path for word in unlike), path))[:TRIED_FONTS]


@cache
def _letters_of(path: str) -> frozenset[int]:
    """Return the code points of a font file; none if it cannot be drawn at any size, such as colour bitmaps."""
    from matplotlib.font_manager import get_font
    from PIL import ImageFont

    try:
        ImageFont.truetype(path, 10)
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()
