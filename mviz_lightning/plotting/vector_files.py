"""Pictures as text and shapes, for papers: SVG and PDF."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf")
"""The formats, by their endings."""

REAL_TEXT: Any = {"svg.fonttype": "none", "svg.hashsalt": "mviz", "pdf.fonttype": 42}
"""Settings of matplotlib: letters stay text, which an editor can change; the same figure gives the same file."""

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
    with rc_context(REAL_TEXT):
        figure.savefig(file, format=name, metadata={"Date" if name == "svg" else "CreationDate": None})
    return f".{name}", file.getvalue()
