"""Report the progress of long work to a watcher: how many rows are planned and evaluated. It changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Watcher(Protocol):
    """Receives what is being done, and its progress."""

    def begin(self, work: str) -> None:
        """Note that a piece of work begins; what was planned before belongs to another piece."""

    def planned(self, rows: int, examples: int) -> None:
        """Note that rows follow, which explain so many examples; 0 for rows of all examples at once."""

    def evaluated(self, rows: int) -> None:
        """Note that rows were evaluated; encoding inputs once counts too, so there may be more rows than planned."""


WATCHER: ContextVar[Watcher | None] = ContextVar("WATCHER", default=None)
"""The watcher of the running work. All evaluators of a session report to it, also those that are copied later."""


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Report the work of a block to a watcher, if there is one."""
    token = WATCHER.set(watcher)
    try:
        yield
    finally:
        WATCHER.reset(token)


def tell_begun(work: str) -> None:
    """Report to the watcher, if there is one, what begins: ``"shares"`` or the name of a method, for example."""
    if (watcher := WATCHER.get()) is not None:
        watcher.begin(work)


def tell_planned(rows: int, examples: int = 0) -> None:
    """Report to the watcher, if there is one, that rows follow.

    Args:
        rows: Number of rows.
        examples: Number of examples that they explain one by one; 0 for rows of all examples at once.
    """
    if (watcher := WATCHER.get()) is not None:
        watcher.planned(rows, examples)


def tell_evaluated(rows: int) -> None:
    """Report to the watcher, if there is one, that rows were evaluated."""
    if (watcher := WATCHER.get()) is not None:
        watcher.evaluated(rows)
