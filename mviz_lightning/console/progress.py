"""The progress of long work, as one line that disappears when the work is done. Quick work shows no line."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mviz_lightning.console.terminal import in_notebook, is_watched

DELAY = 2.0
"""Seconds after which work counts as long."""


class WorkProgress:
    """Shows the current piece of work and its progress.

    Args:
        title: Name of the whole work.
        make_bar: Makes the bar when work is long: tqdm's class, or one like it.
        clock: Returns the time in seconds.
    """

    def __init__(self, title: str, make_bar: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._make_bar, self._clock = title, make_bar, clock
        self._started, self._shown = clock(), ("", 0)
        self._bar: Any = None
        self._work, self._total, self._done, self._examples = "", 0, 0, 0
        self._broken = False

    def begin(self, work: str) -> None:
        """Begin a piece of work; see :class:`mviz_lightning.engine.progress.Watcher`."""
        self._work, self._total, self._done, self._examples = work, 0, 0, 0
        self._refresh()

    def planned(self, rows: int, examples: int) -> None:
        """Note that rows follow, which explain this number of examples."""
        self._total, self._examples = self._total + rows, self._examples + examples
        self._refresh()

    def evaluated(self, rows: int) -> None:
        """Note that rows were evaluated."""
        self._done += rows
        self._refresh()

    @property
    def state(self) -> tuple[str, int, int, str]:
        """The current piece of work, the amounts done and planned (0 if unknown), and their unit."""
        done = min(self._done, self._total) if self._total else self._done
        if not self._examples or not self._total:
            return self._work, done, self._total, "rows"
        return self._work, done * self._examples // self._total, self._examples, "examples"

    def _refresh(self) -> None:
        """Show the state; if the stream raises an error, only the bar ends."""
        if self._broken or (self._bar is None and self._clock() - self._started < DELAY):
            return
        try:
            self._show(*self.state)
        except Exception:  # a closed stream, for example
            self._broken = True

    def _show(self, work: str, done: int, total: int, unit: str) -> None:
        if self._bar is None or self._shown != (work, total):
            self.close()
            described = f"{self._title}: {work}"
            self._bar = self._make_bar(total=total or None, desc=described, unit=f" {unit}", leave=False)
            self._shown = work, total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the line."""
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(Exception):
                bar.close()


@contextmanager
def shown_progress(title: str, *, wanted: bool | None) -> Iterator[WorkProgress | None]:
    """Show the progress of a block on standard error.

    Args:
        title: Name of the whole work.
        wanted: Whether it is shown; None shows it in a terminal and in a notebook only.
    """
    make_bar = _bar_class() if (is_watched(sys.stderr) if wanted is None else wanted) else None
    if make_bar is None:
        yield None
        return
    progress = WorkProgress(title, make_bar)
    try:
        yield progress
    finally:
        progress.close()


def _bar_class() -> Any:
    """Return tqdm's bar, which Lightning uses too; None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm warns in notebooks without widgets, where it shows a line of text
            if in_notebook():
                from tqdm.auto import tqdm
            else:
                from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
