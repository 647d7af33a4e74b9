"""Fonts of the system for letters that the font of pictures lacks, such as Chinese ones and emojis."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

FONT_FAMILY = "DejaVu Sans Mono"
"""A monospaced font that comes with matplotlib."""

MISSING = "□"
"""Stands for a letter that no font has."""

EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
"""Starts of the names of letters in Unicode whose fonts have a package of their own."""

LISTED = 8
"""Largest number of letters that the line about missing fonts lists."""

_without_font: dict[str, None] = {}


@cache
def own_letters() -> frozenset[str]:
    """Return the letters of the font of pictures."""
    from matplotlib.font_manager import findfont  # plotting is loaded when a picture is drawn, not at import

    return frozenset(letter for letter in _letters_of(findfont(FONT_FAMILY)) if letter.isprintable())


@cache
def font_with(letter: str) -> str | None:
    """Return the file of a font of the system that has a letter; None for a letter of our own font, or of no font."""
    from matplotlib.font_manager import findSystemFonts

    if letter in own_letters():
        return None
    return next((path for path in _ordered(findSystemFonts()) if letter in _letters_of(path)), None)


def legible(text: str) -> str:
    """Return text in which a box stands for every letter that no font has; :func:`advice` then names them."""
    shown = []
    for letter in unicodedata.normalize("NFC", text):
        known = letter in own_letters() or (letter.isprintable() and font_with(letter) is not None)
        if not known and letter.isprintable():
            _without_font[letter] = None
        shown.append(letter if known else MISSING)
    return "".join(shown)


def advice() -> str:
    """Return one line that names the letters without a font so far, and the packages that bring one; ``""`` if none."""
    if not _without_font:
        return ""
    letters, more = "".join([*_without_font][:LISTED]), "..." * (len(_without_font) > LISTED)
    packages = " ".join(dict.fromkeys(map(_package, _without_font)))
    return (
        f"no font of this system has {letters}{more}, so pictures show {MISSING} instead. Install fonts: "
        f"apt install {packages}"
    )


def parts(line: str) -> Iterator[tuple[str | None, str]]:
    """Yield the parts of a line: the file of their font, None for our own, and their letters."""
    if own_letters().issuperset(line):
        yield None, line
        return
    for path, letters in groupby(line, font_with):
        yield path, "".join(letters)


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


def _ordered(paths: list[str]) -> list[str]:
    """Return font files, upright and sans serif first, so that letters go with those of our own font."""
    unlike = ("Bold", "Italic", "Oblique", "Serif", "Mono", "Light", "Black", "Thin")
    return sorted(paths, key=lambda path: (sum(word in path for word in unlike), path))


@cache
def _letters_of(path: str) -> frozenset[str]:
    """Return the letters of a font file; none where it cannot be drawn at any size, such as colour bitmaps."""
    from matplotlib.font_manager import get_font
    from PIL import ImageFont

    try:
        ImageFont.truetype(path, 10)
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
