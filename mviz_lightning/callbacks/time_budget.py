"""The share of the time that the monitor may take, if the user set a limit (``max_overhead=``)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SHARES = "the shares"
"""Name of the work that is put off last; no method can have this name, because it contains a space."""

PAGE = "the report page"
"""Name of the work of writing the page; it is never put off, because it follows the last run."""

PREPARATION = "the preparation"
"""Name of the work of collecting examples and trying the model: its time is counted, but it is never put off."""


@dataclass
class TimeBudget:
    """Counts the time of the monitor's work, and decides whether there is time for more.

    Each piece of work is expected to take as long as the last time. Explanations are put off while the monitor's total
    work, including them, would exceed the limit. Contribution shares are put off only while they alone would exceed it.

    Attributes:
        limit: Largest share of the time since the beginning, such as 0.05; None for no limit.
        clock: Returns the time in seconds.
    """

    limit: float | None = None
    clock: Callable[[], float] = time.perf_counter
    _began: float = field(init=False)
    _lap: tuple[float, float] = field(init=False)
    _spent: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._lap = self._began, 0.0

    @contextmanager
    def timed(self, work: str, *, more: bool = False) -> Iterator[None]:
        """Count the time of a block, also if it fails.

        Args:
            work: Name of the piece of work.
            more: Whether the time is added to the last time of this work, for example the time of its pictures.
        """
        started = self.clock()
        try:
            yield
        finally:
            seconds = self.clock() - started
            self._spent[work] = self._spent.get(work, 0.0) + seconds
            self._last[work] = (self._last.get(work, 0.0) if more else 0.0) + seconds

    def allows(self, work: str) -> bool:
        """Return whether there is time for a piece of work; always True for work that was never done."""
        if self.limit is None or work not in self._last:
            return True
        spent = self._spent[SHARES] if work == SHARES else sum(self._spent.values())
        expected = self._last[work]
        return spent + expected <= self.limit * (self.clock() - self._began + expected)

    def settle(self, work: str, *, allowed: bool) -> str:
        """Record a decision; return a note if work is put off that was not put off the last time, ``""`` otherwise."""
        said = work in self._waiting
        (self._waiting.discard if allowed else self._waiting.add)(work)
        return "" if allowed or said else f"put off: {work} (max_overhead={self.limit:g})"

    def lap(self) -> tuple[float, float]:
        """Return the seconds of all work since the last call, and their share of the time since then."""
        (began, before), now, spent = self._lap, self.clock(), sum(self._spent.values())
        self._lap = now, spent
        return spent - before, (spent - before) / (now - began) if now > began else 0.0
