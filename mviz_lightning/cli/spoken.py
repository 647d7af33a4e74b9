"""What a command says on the console, in letters that the console has."""

import sys
from typing import TextIO


def say(line: str, *, to: TextIO | None = None) -> None:
    """Print a line; a letter that the console has not is written as its number.

    Args:
        line: The line.
        to: Where it is printed; by default on the console's output.
    """
    stream = sys.stdout if to is None else to
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream)
