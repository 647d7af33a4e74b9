"""Plain files in the run's folder: a line of JSON for each run, pictures, tables and texts."""

import csv
import json
import math
import re
import zlib
from collections.abc import Sequence
from io import SEEK_END, StringIO
from pathlib import Path

from mviz_lightning.sinks.base import Refusals, wav, without_pictures
from mviz_lightning.sinks.records import Alert, Dashboard, Picture, Record, RunRecord, Sound, Table

UNSAFE = re.compile(r"[^\w .,+=()@~-]")
"""What some file system refuses in a name."""

LONGEST = 60
"""Characters of a name; file systems allow 255 bytes, endings included."""


class FileSink:
    """Writes ``history.jsonl``, and under its key the latest of every picture (PNG), table (CSV), sound (WAV) and text.

    Alerts are kept, one after the other: what ends an alarm does not undo what it said.

    Args:
        folder: Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, layout: Dashboard) -> None:
        """Files need no arrangement."""

    def row(self, row: RunRecord) -> None:
        """Append a run to ``history.jsonl``; what is no number becomes null, since JSON knows no NaN."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = row.state()
        line["values"] = {name: value if math.isfinite(value) else None for name, value in row.values.items()}
        append_line(self.folder / "history.jsonl", json.dumps(line, allow_nan=False))

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write a file for each record; a picture that is kept has its step in the name, an alert before its title."""
        refused = Refusals()
        for record in records:
            with refused.of(record.key):
                ending, data = _content(record, step)
                step_part = f"_step_{step:08d}" if isinstance(record, Picture) and record.keep else ""
                path = self._path(record.key, f"{step_part}{ending}")
                _replace(path, (_earlier(path) if isinstance(record, Alert) else b"") + data)
        refused.tell()

    def _path(self, key: str, ending: str) -> Path:
        """Return where a key's file lies: the monitor's prefix is the folder's name already."""
        prefix, _, below = key.partition("/")
        *folders, name = (_safe(part) for part in (below or prefix).split("/") if part)
        return self.folder.joinpath(*folders, name + ending)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; half a line, left there by a crash, gets its end first, or it would swallow this one."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())


def _earlier(path: Path) -> bytes:
    """Return what a file holds by now, and an empty line."""
    return path.read_bytes() + b"\n" if path.exists() else b""


def _safe(part: str) -> str:
    """Return a name that every file system takes."""
    name = UNSAFE.sub("_", part).strip(" .") or "_"
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{zlib.crc32(part.encode()):08x}"


def _content(record: Record, step: int) -> tuple[str, bytes]:
    """Return a file's ending and its bytes."""
    if isinstance(record, Picture):
        return ".png", record.png
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
    csv.writer(text, lineterminator="\n").writerows([names, *rows])
    return text.getvalue()


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    try:
        half.write_bytes(data)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
