"""Lines on standard output: in colours where rich is installed and a person reads them, plain elsewhere."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

STYLES = {"heading": "bold", "good": "green", "notice": "yellow", "alarm": "bold red"}
"""What a span means -> how rich shows it."""

REDIRECTED = 120
"""Columns of a file or a pipe, which tell no width."""


@dataclass(frozen=True)
class Span:
    """A part of a line.

    Attributes:
        text: Its letters.
        style: What it means, one of ``STYLES``; ``""`` for plain text.
    """

    text: str
    style: str = ""


Line: TypeAlias = Sequence[Span]


def columns() -> int:
    """Return the width of the terminal in columns; the variable ``COLUMNS`` comes first."""
    return shutil.get_terminal_size(fallback=(REDIRECTED, 24)).columns or REDIRECTED


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def is_watched(stream: Any) -> bool:
    """Tell whether a person sees what is written to a stream as it comes: in a terminal or in a notebook."""
    try:
        return bool(stream.isatty()) or in_notebook()
    except Exception:  # a stream of somebody else's, or a closed one
        return False


def show(lines: Sequence[Line]) -> None:
    """Print lines on standard output; rich's colours are left out where ``NO_COLOR`` is set."""
    console = _rich_console()
    if console is None:
        print("\n".join("".join(printable(span.text) for span in line) for line in lines))  # noqa: T201 told on purpose
        return
    from rich.text import Text

    parts = [[(printable(span.text), STYLES.get(span.style, "")) for span in line] for line in lines]
    console.print(Text("\n").join(Text.assemble(*line) for line in parts), soft_wrap=True, highlight=False)


def _rich_console() -> Any:
    """Return rich's console, the one that Lightning prints to; None without rich, or where nobody watches."""
    if os.environ.get("TERM") == "dumb" or not is_watched(sys.stdout):
        return None
    try:
        from rich import get_console
    except ImportError:
        return None
    return get_console()


def printable(text: str) -> str:
    r"""Return a text that does nothing to a terminal, in letters that standard output can encode.

    Example:
        >>> printable("\x1b[31mred\n")
        '\\x1b[31mred\\n'
    """
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
