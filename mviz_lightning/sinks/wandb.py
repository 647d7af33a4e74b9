"""The adapter for Weights & Biases: pictures, sounds, tables and texts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from glob import escape as escape_pattern
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mviz_lightning.sinks.base import KINDS, EndedAlarms, Refusals, is_picture, logged_key, wav
from mviz_lightning.sinks.records import (
    Alert,
    Dashboard,
    FileRecord,
    MarkdownText,
    Picture,
    Pixels,
    Record,
    RunRecord,
    Sound,
    Table,
)

STEP_KEY = "trainer/global_step"
"""Key of Lightning's x-axis. W&B's own step counts rows, and W&B silently drops values for an earlier row."""

MAX_TITLE_LENGTH = 63
"""Largest number of characters of an alert's title: W&B allows fewer than 64."""

ALERT_INTERVAL = 0.001
"""Seconds during which W&B drops further alerts of the same title; W&B reads 0 as one minute."""


STEP_COLUMN = "step"
"""First column of a table that grows: the step at which a row was written."""


class WandbSink:
    """Writes to a ``WandbLogger`` of ``lightning`` or ``pytorch_lightning``.

    Args:
        logger: The logger; the sink uses its run.
    """

    takes = tuple(KINDS)

    def __init__(self, logger: Any) -> None:
        self._logger, self._ended, self._tables = logger, EndedAlarms(), _GrowingTables()

    def open(self, dashboard: Dashboard) -> None:
        """Use Lightning's x-axis for the monitor's curves, also in a run that is older than the logger."""
        run = self._logger.experiment
        run.define_metric(STEP_KEY)
        run.define_metric(logged_key(self._logger, f"{dashboard.name}/*"), step_metric=STEP_KEY, step_sync=True)

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write all records into one row: the next row of the trainer, or a new one.

        Raises:
            SinkError: Some records could not be written; the others are written.
        """
        with TemporaryDirectory() as folder:  # W&B copies the files while it logs
            self._write(
                records, step, _Media(Path(folder), records, self._tables, step), with_trainer_row=with_trainer_row
            )

    def _write(self, records: Sequence[Record], step: int, media: "_Media", *, with_trainer_row: bool) -> None:
        refused, row = Refusals(), dict[str, Any]()
        for record in records:
            with refused.of(record.key):
                if isinstance(record, FileRecord):
                    self._keep(record)
                    continue
                whole = replace(record, text=self._ended.text_of(record, step)) if isinstance(record, Alert) else record
                row[logged_key(self._logger, record.key)] = media.of(whole)
                if isinstance(record, Alert):
                    level = "WARN" if record.urgent else "INFO"
                    self._logger.experiment.alert(record.title[:MAX_TITLE_LENGTH], record.text, level, ALERT_INTERVAL)
        if row:
            with refused.of(*row):
                self._logger.experiment.log({**row, STEP_KEY: step}, commit=not with_trainer_row)
        refused.raise_first()

    def _keep(self, file: FileRecord) -> None:
        """Write a file to the files of the run; it replaces an earlier file of this name."""
        path = file.path.absolute()
        base = path.parents[file.key.count("/")]  # W&B uses the path below this folder as the name
        self._logger.experiment.save(escape_pattern(str(path)), base_path=str(base), policy="now")

    def row(self, row: RunRecord) -> None:
        """Do nothing: the trainer logs the scalars."""

    def close(self) -> None:
        """Do nothing: the creator of the run ends it."""


class _GrowingTables:
    """W&B's incremental tables, one for each key: a call of ``log`` writes only the new rows.

    A key gets a new table for each step if its columns change, or if this W&B has no incremental tables.

    Attributes:
        of_key: Key -> its table; None if its columns changed.
    """

    def __init__(self) -> None:
        self.of_key: dict[str, Any] = {}

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> Any:
        """Return the table of a key with the rows of a step; the first column is the step."""
        import wandb

        named = [STEP_COLUMN, *columns]
        table = self.of_key[key] if key in self.of_key else _incremental_table(named)
        if table is not None and table.columns != named:
            table = None
        self.of_key[key] = table
        if table is None:
            return wandb.Table(columns=[*columns], data=[[*row] for row in rows])
        written = len(table.data)
        table.data[:] = [[]] * written  # W&B only counts the rows that are already written
        try:
            for row in rows:
                table.add_data(step, *row)
        except Exception:
            del table.data[written:]
            raise
        return table


def _incremental_table(columns: Sequence[str]) -> Any:
    """Return an empty incremental table; None if this W&B has none (before 0.20)."""
    import wandb

    try:
        return wandb.Table(columns=[*columns], log_mode="INCREMENTAL")
    except (TypeError, AssertionError):
        return None


class _Media:
    """Creates W&B's media objects, a new one each time, because W&B writes no object twice.

    They are made from files, not from arrays: W&B turns float arrays black, drops an image of one pixel's height,
    encodes the pictures of tables again, and needs the package soundfile for arrays of samples.

    Args:
        folder: Folder of the files until they are logged.
        records: All records of the row; they often include the pictures of its tables, which are then encoded once.
        tables: The tables that grow.
        step: Step of the row.
    """

    def __init__(self, folder: Path, records: Sequence[Record], tables: _GrowingTables, step: int) -> None:
        self._folder, self._tables, self._step = folder, tables, step
        self._images = {id(record.pixels): record for record in records if isinstance(record, Picture)}

    def of(self, record: Picture | Table | MarkdownText | Alert | Sound) -> Any:
        """Return the W&B object for a record."""
        import wandb

        if isinstance(record, Picture):
            return wandb.Image(self._file("png", record.png), caption=record.description or None)
        if isinstance(record, Table):
            cells = [[self._cell(cell) for cell in row] for row in record.rows]
            return self._tables.table(record.key, list(record.columns), cells, self._step)
        if isinstance(record, Sound):
            return wandb.Audio(self._file("wav", wav(record)))
        # In ASCII: the page that W&B makes of it declares no encoding.
        text = record.text if isinstance(record, Alert) else record.markdown
        html = escape(text).encode("ascii", "xmlcharrefreplace").decode()
        return wandb.Html(f'<pre style="white-space: pre-wrap">{html}</pre>')

    def _cell(self, cell: str | float | Pixels) -> Any:
        import wandb

        if is_picture(cell):
            known = self._images.get(id(cell)) or Picture("", cell)
            return wandb.Image(self._file("png", known.png))
        return cell if isinstance(cell, str) or math.isfinite(cell) else None  # W&B's JSON has no NaN

    def _file(self, ending: str, data: bytes) -> str:
        path = self._folder / f"{len(list(self._folder.iterdir()))}.{ending}"
        path.write_bytes(data)
        return str(path)  # W&B 0.19 reads a Path as an array
