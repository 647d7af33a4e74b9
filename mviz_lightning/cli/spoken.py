"""Print lines on the console, in the characters of its encoding."""

import sys
from typing import TextIO


def say(line: str, *, to: TextIO | None = None) -> None:
    """Print a line; a character that the console's encoding lacks is written as an escape.

    Args:
        line: The line.
        to: Stream for the line; by default standard output.
    """
    stream = sys.stdout if to is None else to
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream)
