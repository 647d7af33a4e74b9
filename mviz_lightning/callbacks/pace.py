"""Space the monitor's work by the clock, for those who ask for that."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mviz_lightning.errors import ConfigurationError

SHARES = "shares"
"""The work that is put off last."""


def require_share(name: str, value: float | None) -> float | None:
    """Return a share of the time that can be kept.

    Raises:
        ConfigurationError: It is none.
    """
    if value is not None and not 0 < value < 1:
        raise ConfigurationError(f"{name}={value}: give a share of the time between 0 and 1, .05 for one, or None.")
    return value


@dataclass
class Pace:
    """Tells whether there is time for a piece of work, foreseen to take what it took last time.

    Explanations are put off while all that the monitor did would take more than its share of the time with them;
    shares only where they would do so by themselves.

    Attributes:
        limit: Share of the time since the beginning that may be taken; no limit where there is none.
        clock: Seconds.
    """

    limit: float | None = None
    clock: Callable[[], float] = time.perf_counter
    _began: float = field(init=False)
    _spent: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def allows(self, work: str) -> bool:
        """Tell whether there is time for a piece of work; always for what was never done."""
        if self.limit is None or work not in self._last:
            return True
        spent = self._spent.get(SHARES, 0.0) if work == SHARES else sum(self._spent.values())
        foreseen = self._last[work]
        return spent + foreseen <= self.limit * (self.clock() - self._began + foreseen)

    def spend(self, work: str, seconds: float) -> None:
        """Note what a piece of work took."""
        self._spent[work] = self._spent.get(work, 0.0) + seconds
        self._last[work] = seconds
        self._waiting.discard(work)

    def put_off(self, work: str) -> str:
        """Return what to say of work that is put off: something the first time in a row, then nothing."""
        said = work in self._waiting
        self._waiting.add(work)
        return "" if said else f"{work} put off, to take no more than {self.limit:.0%} of the time"
