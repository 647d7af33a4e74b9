"""Plain files in the run's folder: a line of JSON for each run, and pictures as PNG."""

import json
import math
from dataclasses import asdict
from pathlib import Path

from mviz_lightning.records import Image, Row


class FileSink:
    """Writes ``history.jsonl`` and the latest picture of every key.

    Args:
        folder: Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def row(self, row: Row) -> None:
        """Append a run to ``history.jsonl``; what is no number becomes null, since JSON knows no NaN."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = asdict(row)
        line["values"] = {name: value if math.isfinite(value) else None for name, value in row.values.items()}
        with (self.folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def image(self, image: Image, step: int) -> None:
        """Write a picture as ``<last part of its key>.png``."""
        from matplotlib.image import imsave

        self.folder.mkdir(parents=True, exist_ok=True)
        imsave(self.folder / f"{image.key.rpartition('/')[2]}.png", image.pixels)
