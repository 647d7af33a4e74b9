"""The file between ``train.py`` and ``table.py``: a line of JSON for each run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the runs of a file; a line that a crash has cut is left out with a word."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            print(f"{path}, line {number} is left out: {error}; train.py makes its run again", file=sys.stderr)
