"""Pictures for papers, SVG and PDF: letters are text, lines are shapes; images and colour bars stay pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import TYPE_CHECKING, Any

from mviz_lightning.plotting.system_fonts import fonts_in_use

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf")
"""The formats, by their endings."""

REAL_TEXT: Any = {"svg.fonttype": "none", "svg.hashsalt": "mviz", "pdf.fonttype": 42, "savefig.bbox": None}
"""Settings of matplotlib: letters stay text, which an editor can change; the same figure gives the same file."""

OUTLINES = {"pdf.fonttype": 3}
"""Setting for fonts of the system: matplotlib embeds those with PostScript outlines (Noto CJK) wrongly as type 42."""

_format: ContextVar[str] = ContextVar("format", default="png")


@contextmanager
def drawn_as(name: str) -> Iterator[None]:
    """Let pictures that are drawn in this block have a file of a format beside their pixels.

    Args:
        name: One of :data:`FORMATS`, or ``"png"`` for pixels alone.
    """
    before = _format.set(name)
    try:
        yield
    finally:
        _format.reset(before)


def vector_file(figure: "Figure") -> tuple[str, bytes] | None:
    """Return the ending and the bytes of a figure in the format of :func:`drawn_as`; None where pixels suffice."""
    from matplotlib import rc_context  # plotting is loaded when a picture is drawn, not at import

    name = _format.get()
    if name not in FORMATS:
        return None
    file = BytesIO()
    with rc_context(REAL_TEXT | (OUTLINES if fonts_in_use() else {})):
        figure.savefig(file, format=name, metadata={"Date" if name == "svg" else "CreationDate": None})
    return f".{name}", file.getvalue()
