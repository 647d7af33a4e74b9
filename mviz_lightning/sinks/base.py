"""What every sink does, and what sinks have in common."""

import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Protocol, TypeGuard

import numpy as np

from mviz_lightning.errors import describe_error
from mviz_lightning.sinks.records import Dashboard, Pixels, Record, RunRecord, Sound, Table


class Sink(Protocol):
    """Takes records; keys come with the monitor's prefix."""

    def open(self, layout: Dashboard) -> None:
        """Hear how the scalars are arranged; once, before the first record of a run."""

    def write(self, records: Sequence[Record], step: int, *, with_trainer_row: bool = False) -> None:
        """Write what can be written, then say what could not.

        Args:
            records: Of one moment.
            step: The x-axis of the loggers.
            with_trainer_row: Whether the records belong to the row that the trainer logs right after this call.

        Raises:
            SinkError: Some records were refused; the others are written.
        """

    def row(self, row: RunRecord) -> None:
        """Write a run's values; loggers get them from the trainer already."""


class SinkError(RuntimeError):
    """A logger or the file system refused records; the message names them."""


class Refusals:
    """Collects what records failed with, so that one costs no other."""

    def __init__(self) -> None:
        self._found: list[tuple[str, Exception]] = []

    @contextmanager
    def of(self, *keys: str) -> Iterator[None]:
        """Note what the block raises as the failure of these keys."""
        try:
            yield
        except Exception as error:
            self._found += [(key, error) for key in keys]

    def tell(self) -> None:
        """Raise the first failure, under the keys of all.

        Raises:
            SinkError: There was one.
        """
        if self._found:
            keys, first = ", ".join(key for key, _ in self._found), self._found[0][1]
            raise SinkError(f"{keys} not written: {describe_error(first)}") from first


def logged_key(logger: Any, key: str) -> str:
    """Return a key as the logger writes scalars under it: some were given a prefix of their own."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{logger.LOGGER_JOIN_CHAR}{key}" if prefix else key


def wav(sound: Sound) -> bytes:
    """Return a file of sound: 16 bits, uncompressed."""
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((sound.samples.shape[1], 2, sound.rate, len(sound.samples), "NONE", ""))
        file.writeframes(sound.samples.astype("<i2").tobytes())
    return buffer.getvalue()


def is_picture(cell: str | float | Pixels) -> TypeGuard[Pixels]:
    """Tell a picture in a table from text and numbers."""
    return isinstance(cell, np.ndarray)


def without_pictures(table: Table) -> tuple[list[str], list[tuple[str | float, ...]]]:
    """Return the names and the rows of the columns that hold no pictures."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    kept = [
        (name, column)
        for name, column in zip(table.columns, columns, strict=True)
        if not any(is_picture(cell) for cell in column)
    ]
    return [name for name, _ in kept], list(zip(*(column for _, column in kept), strict=True))
