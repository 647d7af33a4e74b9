"""Plain files in a folder: one line of JSON per run of the monitor, pictures, tables, sounds and texts."""

import csv
import json
import math
import re
from collections.abc import Sequence
from io import SEEK_END, StringIO
from pathlib import Path

from mviz_lightning.sinks.base import KINDS, Refusals, wav, without_pictures
from mviz_lightning.sinks.portable_names import portable_name, told_apart
from mviz_lightning.sinks.records import (
    Alert,
    Dashboard,
    FileRecord,
    MarkdownText,
    Picture,
    Record,
    RunRecord,
    Sound,
    Table,
)

FORMULA = re.compile(r"\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\n]")
"""Beginning of a text that spreadsheets read as a formula, also in full width. A formula may run a program."""


NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]+)?(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
"""A text that is a number, such as the label ``-1``, and therefore no formula."""


class FileSink:
    """Writes ``history.jsonl``, and the latest picture (PNG), table (CSV), sound (WAV) and text (MD) of every key.

    Alerts (TXT) are appended to the earlier ones, so the end of an alarm does not delete its text.

    Args:
        folder: Created when something is written.
    """

    takes = tuple(KINDS)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[str, str] = {}
        self._unwritten: list[str] = []

    def open(self, dashboard: Dashboard) -> None:
        """Do nothing: files have no charts."""

    def row(self, row: RunRecord) -> None:
        """Append a run to ``history.jsonl``; values that are not finite become null, because JSON has no NaN.

        A run that could not be written, for example on a full disk, is written together with the next one.
        """
        line = row.state()
        line["values"] = {name: value if math.isfinite(value) else None for name, value in row.values.items()}
        self._unwritten.append(json.dumps(line, allow_nan=False))
        self.folder.mkdir(parents=True, exist_ok=True)
        append_lines(self.folder / "history.jsonl", self._unwritten)
        self._unwritten = []

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write one file per record; a picture with ``keep`` has the step in its name, an alert in its text.

        Raises:
            SinkError: Some files could not be written; the others are written.
        """
        refused = Refusals()
        for record in records:
            if isinstance(record, FileRecord):  # it is already in this folder
                continue
            with refused.of(record.key):
                ending, data = _content(record, step)
                step_part = f"_step_{step:08d}" if isinstance(record, Picture) and record.keep else ""
                path = self._path(record.key, f"{step_part}{ending}")
                replace_file(path, (_earlier(path) if isinstance(record, Alert) else b"") + data)
        refused.raise_first()

    def close(self) -> None:
        """Do nothing: no file is open."""

    def _path(self, key: str, ending: str) -> Path:
        """Return the path of a key's file; the monitor's prefix is left out, because it is the folder's name."""
        prefix, _, below = key.partition("/")
        *folders, name = (portable_name(name) for name in (below or prefix).split("/") if name)
        if self._keys.setdefault("/".join([*folders, name]).casefold(), key) != key:  # some systems ignore case
            name = told_apart(name, key)
        return self.folder.joinpath(*folders, name + ending)


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines to a file, all or none of them; an incomplete last line (after a crash) is ended first."""
    with path.open("ab+", buffering=0) as file:  # a buffer would repeat a failed write
        size, data = file.seek(0, SEEK_END), "".join(f"{line}\n" for line in lines).encode()
        if size:
            file.seek(-1, SEEK_END)
            data = data if file.read(1) == b"\n" else b"\n" + data
        try:
            while data:
                data = data[file.write(data) :]
        except BaseException:
            file.truncate(size)
            raise


def _earlier(path: Path) -> bytes:
    """Return the content of a file and an empty line; an empty text without a file."""
    return path.read_bytes() + b"\n" if path.exists() else b""


def _content(record: Picture | Table | MarkdownText | Alert | Sound, step: int) -> tuple[str, bytes]:
    """Return the ending of a record's file and its bytes."""
    if isinstance(record, Picture):
        return record.vector or (".png", record.png)
    if isinstance(record, Table):
        return ".csv", _csv(record).encode("utf-8", "replace")
    if isinstance(record, Sound):
        return ".wav", wav(record)
    if isinstance(record, Alert):
        return ".txt", f"step {step}: {record.title}\n\n{record.text}\n".encode("utf-8", "replace")
    return ".md", record.markdown.encode("utf-8", "replace")


def _csv(table: Table) -> str:
    names, rows = without_pictures(table)
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(map(_inert, line)) for line in (names, *rows)])
    return text.getvalue()


def _inert(cell: str | float) -> str | float:
    """Return a cell that spreadsheets do not read as a formula: an apostrophe is put before such a text."""
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r\n", "\n").replace("\r", "\n")  # the csv module leaves a lone one unquoted: a new row
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step, so that readers never get an incomplete file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    try:
        half.write_bytes(data)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
