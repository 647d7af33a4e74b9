"""Pictures, sounds, tables and texts for Weights & Biases."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mviz_lightning.sinks.base import Refusals, is_picture, logged_key, wav
from mviz_lightning.sinks.records import Alert, Dashboard, Picture, Pixels, Record, RunRecord, Sound, Table

STEP = "trainer/global_step"
"""Lightning's x-axis. W&B's own step counts rows: what names an earlier one is dropped in silence."""

TITLE = 63
"""Characters of an alert's title."""

NO_WAIT = 0.001
"""Seconds within which W&B drops an alert of the same title; 0 would mean a minute."""


class WandbSink:
    """Writes to a ``WandbLogger`` of either namespace.

    Args:
        logger: The logger; its run is used.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def open(self, layout: Dashboard) -> None:
        """Put the monitor's curves over Lightning's x-axis, also in a run that was there before the logger."""
        run = self._logger.experiment
        run.define_metric(STEP)
        run.define_metric(logged_key(self._logger, f"{layout.name}/*"), step_metric=STEP, step_sync=True)

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write all records into one row: the trainer's next, or one of their own."""
        with TemporaryDirectory() as folder:  # W&B takes its copies while it logs
            self._write(records, step, _Media(Path(folder), records), with_trainer_row=with_trainer_row)

    def _write(self, records: Sequence[Record], step: int, shown: "_Media", *, with_trainer_row: bool) -> None:
        refused, media = Refusals(), dict[str, Any]()
        for record in records:
            with refused.of(record.key):
                media[logged_key(self._logger, record.key)] = shown.of(record)
                if isinstance(record, Alert):
                    level = "WARN" if record.urgent else "INFO"
                    self._logger.experiment.alert(record.title[:TITLE], record.text, level, NO_WAIT)
        if media:
            with refused.of(*media):
                self._logger.experiment.log({**media, STEP: step}, commit=not with_trainer_row)
        refused.tell()

    def row(self, row: RunRecord) -> None:
        """Leave scalars to the trainer."""


class _Media:
    """Makes what W&B shows, a new object each time, since it writes none twice.

    It gets files: of arrays, it turns floats black, drops edges of one pixel, and encodes those of a table once more;
    of samples, it makes sounds with the help of soundfile alone.

    Args:
        folder: Where the files lie until they are logged.
        records: All of the row; the pictures in its tables are among them, mostly.
    """

    def __init__(self, folder: Path, records: Sequence[Record]) -> None:
        self._folder = folder
        self._images = {id(record.pixels): record for record in records if isinstance(record, Picture)}

    def of(self, record: Record) -> Any:
        """Return what stands for a record."""
        import wandb

        if isinstance(record, Picture):
            return wandb.Image(self._file("png", record.png), caption=record.caption or None)
        if isinstance(record, Table):
            cells = [[self._cell(cell) for cell in row] for row in record.rows]
            return wandb.Table(columns=list(record.columns), data=cells)
        if isinstance(record, Sound):
            return wandb.Audio(self._file("wav", wav(record)))
        # In ASCII, for the page that W&B makes of it declares no encoding.
        words = record.text if isinstance(record, Alert) else record.markdown
        text = escape(words).encode("ascii", "xmlcharrefreplace").decode()
        return wandb.Html(f'<pre style="white-space: pre-wrap">{text}</pre>')

    def _cell(self, cell: str | float | Pixels) -> Any:
        import wandb

        if is_picture(cell):
            known = self._images.get(id(cell)) or Picture("", cell)
            return wandb.Image(self._file("png", known.png))
        return cell if isinstance(cell, str) or math.isfinite(cell) else None  # its JSON knows no NaN

    def _file(self, ending: str, data: bytes) -> Path:
        path = self._folder / f"{len(list(self._folder.iterdir()))}.{ending}"
        path.write_bytes(data)
        return path
