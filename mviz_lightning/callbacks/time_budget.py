"""Space the monitor's work by the clock, for those who ask for that."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SHARES = "the shares"
"""The work that is put off last; no method has such a name."""

PREPARATION = "the preparation"
"""Collecting examples and trying the model: it is counted, and cannot be put off."""


@dataclass
class TimeBudget:
    """Knows what the monitor's work takes, and whether there is time for more; it is foreseen to take as long again.

    Explanations are put off while all that the monitor did would take more than its share of the time with them;
    shares only where they would do so by themselves.

    Attributes:
        limit: Share of the time since the beginning that may be taken; no limit where there is none.
        clock: Seconds.
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
        """Count what a block takes, whether it fails or not.

        Args:
            work: Of which piece of work it is.
            more: Whether it belongs to the last time of that piece, as pictures do, and is no time of its own.
        """
        started = self.clock()
        try:
            yield
        finally:
            seconds = self.clock() - started
            self._spent[work] = self._spent.get(work, 0.0) + seconds
            self._last[work] = (self._last.get(work, 0.0) if more else 0.0) + seconds

    def allows(self, work: str) -> bool:
        """Tell whether there is time for a piece of work; always for what was never done."""
        if self.limit is None or work not in self._last:
            return True
        spent = self._spent[SHARES] if work == SHARES else sum(self._spent.values())
        foreseen = self._last[work]
        return spent + foreseen <= self.limit * (self.clock() - self._began + foreseen)

    def settle(self, work: str, *, allowed: bool) -> str:
        """Take a decision; return what to say of it: the first time in a row that work is put off, something."""
        said = work in self._waiting
        (self._waiting.discard if allowed else self._waiting.add)(work)
        return "" if allowed or said else f"put off: {work} (max_overhead={self.limit:g})"

    def lap(self) -> tuple[float, float]:
        """Return the seconds of all work since this was asked last, and their share of the time since then."""
        (began, before), now, spent = self._lap, self.clock(), sum(self._spent.values())
        self._lap = now, spent
        return spent - before, (spent - before) / (now - began) if now > began else 0.0
