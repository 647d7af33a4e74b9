"""Pictures, sounds, tables and texts for Weights & Biases."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mviz_lightning.records import Alert, Image, Layout, Pixels, Record, Row, Sound, Table
from mviz_lightning.sinks.base import Refusals, is_picture, logged_key, wav

STEP = "trainer/global_step"
"""Lightning's x-axis. W&B's own step counts rows: what names an earlier one is dropped in silence."""

TITLE = 63
"""Characters of an alert's title."""


class WandbSink:
    """Writes to a ``WandbLogger`` of either namespace.

    Args:
        logger: The logger; its run is used.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def open(self, layout: Layout) -> None:
        """Put the monitor's curves over Lightning's x-axis, also in a run that was there before the logger."""
        run = self._logger.experiment
        run.define_metric(STEP)
        run.define_metric(logged_key(self._logger, f"{layout.name}/*"), step_metric=STEP, step_sync=True)

    def write(self, records: Sequence[Record], step: int, *, joins: bool = False) -> None:
        """Write all records into one row: the trainer's next, or one of their own."""
        with TemporaryDirectory() as folder:  # W&B takes its copy of a sound while it logs
            self._write(records, step, Path(folder), joins=joins)

    def _write(self, records: Sequence[Record], step: int, folder: Path, *, joins: bool) -> None:
        refused, media = Refusals(), dict[str, Any]()
        for record in records:
            with refused.of(record.key):
                media[logged_key(self._logger, record.key)] = _media(record, folder)
                if isinstance(record, Alert):
                    level = "WARN" if record.urgent else "INFO"
                    self._logger.experiment.alert(record.title[:TITLE], record.text, level)
        if media:
            with refused.of(*media):
                self._logger.experiment.log({**media, STEP: step}, commit=not joins)
        refused.tell()

    def row(self, row: Row) -> None:
        """Leave scalars to the trainer."""


def _media(record: Record, folder: Path) -> Any:
    """Return what W&B shows; a new object each time, since it writes none twice.

    Args:
        record: What to show.
        folder: Where a sound lies until it is logged: from samples, W&B makes one with the help of soundfile alone.
    """
    import wandb

    if isinstance(record, Image):
        return _picture(record.pixels, record.caption)
    if isinstance(record, Table):
        cells = [[_cell(cell) for cell in row] for row in record.rows]
        return wandb.Table(columns=list(record.columns), data=cells)
    if isinstance(record, Sound):
        file = folder / f"{len(list(folder.iterdir()))}.wav"
        file.write_bytes(wav(record))
        return wandb.Audio(file)
    # In ASCII, for the page that W&B makes of it declares no encoding.
    words = record.text if isinstance(record, Alert) else record.markdown
    text = escape(words).encode("ascii", "xmlcharrefreplace").decode()
    return wandb.Html(f'<pre style="white-space: pre-wrap">{text}</pre>')


def _picture(pixels: Pixels, caption: str = "") -> Any:
    """Return a picture through Pillow: of arrays, W&B turns floats black and drops edges of one pixel."""
    import wandb
    from PIL.Image import fromarray

    return wandb.Image(fromarray(pixels), caption=caption or None)


def _cell(cell: str | float | Pixels) -> Any:
    if is_picture(cell):
        return _picture(cell)
    return cell if isinstance(cell, str) or math.isfinite(cell) else None  # its JSON knows no NaN
