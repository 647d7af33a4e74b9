"""Remarks about a session: lines for the log, and notes for the next row of the history."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mviz_lightning.errors import LOG, MonitorWarning

LOG.setLevel(logging.INFO)

PREFIX = "MultimodalMonitor: "
"""Prefix of every line of the log."""


@dataclass
class Remarks:
    """Collects lines and notes until they are taken.

    Attributes:
        head: Name of the head that the remarks are about; ``""`` for the main head.
        told: All lines of the log so far, without their prefix.
    """

    head: str = ""
    told: list[str] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def about(self, head: str) -> "Remarks":
        """Return remarks about a further head; they are taken together with these."""
        return Remarks(head, self.told, self._lines, self._notes, self._said)

    def _named(self, text: str) -> str:
        return f"head {self.head}: {text}" if self.head and text else text

    def note(self, *notes: str) -> None:
        """Add notes for the next row of the history."""
        self._notes.extend(map(self._named, notes))

    def say(self, line: str, *, noted: bool = True, once: str = "") -> None:
        """Add a line for the log, once; an empty line and a repeated one are ignored.

        Args:
            line: Text of the line, without a prefix.
            noted: Whether the line is a note for the history too.
            once: Subject of the line, if its numbers change and one line about the subject is enough.
        """
        named = self._named(line)
        about = self._named(once) or named
        if not line or about in self._said:
            return
        self._said.add(about)
        self._lines.append(PREFIX + named)
        self.told.append(named)
        self._notes += [named] if noted else []

    def say_all(self, lines: Iterable[str]) -> None:
        """Add lines for the log that are notes too."""
        for line in lines:
            self.say(line)

    @contextmanager
    def instead_of_warnings(self) -> Iterator[None]:
        """Turn warnings of the block into lines: a further head may read one modality alone, so a line is enough."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for one in caught:
            if issubclass(one.category, MonitorWarning):
                self.say(str(one.message), noted=False)
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def pop_notes(self) -> str:
        """Return all notes since the last call, joined by ``"; "``."""
        notes = "; ".join(self._notes)
        self._notes.clear()
        return notes

    def pop_lines(self) -> list[str]:
        """Return all lines since the last call."""
        lines = [*self._lines]
        self._lines.clear()
        return lines


def write_log(lines: Iterable[str]) -> None:
    """Write lines to the package's log; it goes to the console if no logging is configured."""
    if not LOG.hasHandlers():
        LOG.addHandler(logging.StreamHandler())
    for line in lines:
        LOG.info(line)
