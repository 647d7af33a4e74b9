"""Lines on standard output: in colours in a terminal or notebook where rich is installed, plain elsewhere."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

STYLES = {"heading": "bold", "good": "green", "notice": "yellow", "alarm": "bold red"}
"""Style of a span -> the same style in rich's terms."""

REDIRECTED = 120
"""Number of columns for a file or a pipe, which has no width of its own."""


@dataclass(frozen=True)
class Span:
    """A part of a line.

    Attributes:
        text: Its characters.
        style: Its style, a key of ``STYLES``; ``""`` for plain text.
    """

    text: str
    style: str = ""


Line: TypeAlias = Sequence[Span]


def columns() -> int:
    """Return the width of the terminal in columns; the environment variable ``COLUMNS`` takes precedence."""
    return shutil.get_terminal_size(fallback=(REDIRECTED, 24)).columns or REDIRECTED


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def is_watched(stream: Any) -> bool:
    """Return whether a stream is shown as it is written: in a terminal or in a notebook."""
    try:
        return bool(stream.isatty()) or in_notebook()
    except Exception:  # another program's own stream, or a closed one
        return False


def show(lines: Sequence[Line]) -> None:
    """Print lines on standard output; rich prints no colours if ``NO_COLOR`` is set."""
    console = _rich_console()
    if console is None:
        print("\n".join("".join(printable(span.text) for span in line) for line in lines))  # noqa: T201 - on purpose
        return
    from rich.text import Text

    parts = [[(printable(span.text), STYLES.get(span.style, "")) for span in line] for line in lines]
    console.print(Text("\n").join(Text.assemble(*line) for line in parts), soft_wrap=True, highlight=False)


def _rich_console() -> Any:
    """Return rich's console, to which Lightning prints too; None without rich, or outside terminals and notebooks."""
    if os.environ.get("TERM") == "dumb" or not is_watched(sys.stdout):
        return None
    try:
        from rich import get_console
    except ImportError:
        return None
    return get_console()


def printable(text: str) -> str:
    r"""Return a text with control characters and characters that standard output cannot encode replaced by escapes.

    Example:
        >>> printable("\x1b[31mred\n")
        '\\x1b[31mred\\n'
    """
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
