"""SVG as text: elements whose content is escaped, and the sizes that all diagrams in notebooks share."""

import unicodedata
from xml.sax.saxutils import escape, quoteattr

WIDTH = 600
"""Width of a diagram in pixels, the narrowest column of a notebook."""

FONT = 12
"""Size of text in pixels."""

LETTER = 6.6
"""Pixels that a letter takes on average, in the sans-serif fonts of notebooks."""

RAISES, LOWERS = "#D55E00", "#0072B2"
"""Colours of weights above and below 0: Okabe and Ito's vermilion and blue."""


def safe(text: str) -> str:
    r"""Return text that XML and every encoding accept: no control characters and no halves of surrogate pairs.

    Example:
        >>> safe("a\x00b\ud800c")
        'a�b�c'
    """
    return "".join("\N{REPLACEMENT CHARACTER}" if _unfit(letter) else letter for letter in str(text))


def _unfit(letter: str) -> bool:
    return (unicodedata.category(letter) in {"Cc", "Cs"} and letter not in "\n\t") or letter in "\ufffe\uffff"


def element(tag: str, *children: str, **attributes: object) -> str:
    """Return an element.

    Args:
        tag: Its name.
        children: Elements and escaped text.
        attributes: Underscores become hyphens, and one at the end is dropped: ``class_="axis"``, ``text_anchor="end"``.
            Numbers are written with one decimal; None leaves an attribute out.
    """
    named = "".join(f" {_name(name)}={_quoted(value)}" for name, value in attributes.items() if value is not None)
    return f"<{tag}{named}>{''.join(children)}</{tag}>" if children else f"<{tag}{named}/>"


def _name(name: str) -> str:
    return name if name == "viewBox" else name.removesuffix("_").replace("_", "-")


def _quoted(value: object) -> str:
    return quoteattr(safe(f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)))


def words(text: str, x: float, y: float, **attributes: object) -> str:
    """Return a line of text with its baseline at a place."""
    return element("text", escape(safe(text)), x=float(x), y=float(y), **attributes)


def tip(text: str) -> str:
    """Return what a reader sees who points at the element around it, and what a screen reader says."""
    return element("title", escape(safe(text)))


def drawing(height: float, title: str, described: str, *children: str, width: float = WIDTH) -> str:
    """Return a whole diagram.

    Args:
        height: In pixels.
        title: What it shows, for screen readers.
        described: Its numbers in words, for screen readers.
        children: Its elements.
        width: In pixels; a narrower column scales the diagram.
    """
    inside = (tip(title), element("desc", escape(safe(described))), *children)
    box = f"0 0 {width:g} {height:g}"
    size = {"width": float(width), "height": float(height)}
    return element("svg", *inside, xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img", **size)


def tinted(tint: float) -> dict[str, object]:
    """Return the fill of a weight on the colour scale: -1 is the strongest blue, 1 the strongest vermilion."""
    return {"fill": RAISES if tint > 0 else LOWERS, "fill_opacity": f"{0.85 * abs(tint):.3f}"}
