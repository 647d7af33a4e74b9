"""The interface of a sink, and helpers that several sinks share."""

import re
import wave
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from io import BytesIO
from typing import Any, Protocol, TypeGuard

import numpy as np

from mviz_lightning.errors import describe_error
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


class Sink(Protocol):
    """Writes records to one destination. Keys include the monitor's prefix, for example ``mviz/shares``."""

    @property
    def takes(self) -> tuple[type, ...]:
        """The kinds of records that the destination accepts; it gets only these."""

    def open(self, dashboard: Dashboard) -> None:
        """Arrange the scalars in charts; called once, before the first record."""

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write all records that can be written; then raise an error with the keys of the others.

        Args:
            records: Records of one step.
            step: Value on the x-axis of the loggers (optimizer steps).
            with_trainer_row: Whether the records belong to the row that the trainer logs right after this call.

        Raises:
            SinkError: Some records could not be written; the others are written.
        """

    def row(self, row: RunRecord) -> None:
        """Write the scalars of one run; sinks of loggers do nothing, because the trainer logs the scalars."""

    def close(self) -> None:
        """Restore the destination; called at the end of a trainer's run, also if it was not opened."""


class SinkError(RuntimeError):
    """A logger or the file system could not write some records; the message names their keys."""


class Refusals:
    """Collects the errors of single records, so that one failing record does not stop the others."""

    def __init__(self) -> None:
        self._found: list[tuple[str, Exception]] = []

    @contextmanager
    def of(self, *keys: str) -> Iterator[None]:
        """Catch any exception of the block and keep it as the error of these keys."""
        try:
            yield
        except Exception as error:
            self._found += [(key, error) for key in keys]

    def raise_first(self) -> None:
        """Raise the first error with the keys of all failed records.

        Raises:
            SinkError: At least one record failed.
        """
        if self._found:
            keys, first = ", ".join(key for key, _ in self._found), self._found[0][1]
            raise SinkError(f"{keys} not written: {describe_error(first)}") from first


KINDS: Mapping[type, str] = {
    Picture: "picture",
    Table: "table",
    MarkdownText: "text",
    Alert: "alert",
    Sound: "sound",
    FileRecord: "file",
}
"""Kind of record -> its name in messages, and the method of a :class:`LoggerSink` that writes it."""


class LoggerSink:
    """Base of a logger's sink: a subclass has one method for each kind of record that the logger takes.

    The methods are ``picture``, ``table``, ``text``, ``alert``, ``sound`` and ``file``. Each gets the key with the
    logger's own prefix, the record and the step. If a method raises, only its record is not written. A kind without a
    method is not written; one line of the log names it.

    Args:
        logger: The logger. It is not used before :meth:`open`.

    Attributes:
        logger: The logger.
        ended: The last alarms, for loggers that show only the latest text of a key.
    """

    def __init__(self, logger: Any) -> None:
        self.logger, self.ended = logger, EndedAlarms()

    @property
    def takes(self) -> tuple[type, ...]:
        """The kinds of records that have a method."""
        return tuple(kind for kind, name in KINDS.items() if hasattr(self, name))

    def open(self, dashboard: Dashboard) -> None:
        """Do nothing; a subclass may arrange the scalars in charts."""

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write every record whose kind the logger takes.

        Raises:
            SinkError: Some records could not be written; the others are written.
        """
        refused = Refusals()
        for record in records:
            put = getattr(self, KINDS[type(record)], None)
            with refused.of(record.key):
                if put is not None:
                    put(self.key(record.key), record, step)
        refused.raise_first()

    def key(self, key: str) -> str:
        """Return a key as the logger writes it: with the logger's own prefix."""
        return logged_key(self.logger, key)

    def row(self, row: RunRecord) -> None:
        """Do nothing: the trainer logs the scalars."""

    def close(self) -> None:
        """Do nothing; a subclass may undo its changes."""


class EndedAlarms:
    """Keeps the last alarm under each key: loggers show the latest text of a key, and an all-clear would replace it."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def text_of(self, alert: Alert, step: int) -> str:
        """Return the text of an alert; for an all-clear or a notice, the last alarm follows it.

        Args:
            alert: The alert.
            step: Step at which it is written.
        """
        if alert.urgent:
            self._last[alert.key] = f"step {step}: {alert.title}\n{alert.text}"
            return alert.text
        ended = self._last.get(alert.key)
        return alert.text if ended is None else f"{alert.text}\n\nThe last alarm, at {ended}"


def logged_key(logger: Any, key: str) -> str:
    """Return a key with the logger's own prefix, as in ``TensorBoardLogger(prefix="run")``: ``"run-mviz/shares"``."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '_')}{key}" if prefix else key


ESCAPED_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|"} | {"\n": " ", "\r": " "})
"""Character that Markdown reads as markup in a cell -> the same with a backslash; line breaks become spaces."""


def markdown_escaped(text: str) -> str:
    """Return a text as one line of Markdown that is shown unchanged: no part of it is markup or a tag."""
    return escape(text, quote=False).translate(ESCAPED_MARKUP)


def fenced(text: str) -> str:
    """Return a text as a code block of Markdown that is shown unchanged; nothing in the text ends the block."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`{3,}", text))])
    return f"{fence}\n{text}\n{fence}"


def wav(sound: Sound) -> bytes:
    """Return a sound as the bytes of a WAV file: 16 bits, uncompressed."""
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((sound.samples.shape[1], 2, sound.rate, len(sound.samples), "NONE", ""))
        file.writeframes(sound.samples.astype("<i2").tobytes())
    return buffer.getvalue()


def is_picture(cell: str | float | Pixels) -> TypeGuard[Pixels]:
    """Return whether a cell of a table is a picture, not text or a number."""
    return isinstance(cell, np.ndarray)


def without_pictures(table: Table) -> tuple[list[str], list[tuple[str | float, ...]]]:
    """Return names and rows of a table without its columns of pictures."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    kept = [
        (name, column)
        for name, column in zip(table.columns, columns, strict=True)
        if not any(is_picture(cell) for cell in column)
    ]
    return [name for name, _ in kept], list(zip(*(column for _, column in kept), strict=True))
