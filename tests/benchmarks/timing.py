"""Times of actions that are taken in turn, so that what else the machine does weighs on all of them alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

Action = Callable[[], Any]


def paired(actions: Sequence[Action], repeats: int, settle: Action = lambda: None) -> list[list[float]]:
    """Return each action's seconds, taken in turn.

    Args:
        actions: What is timed.
        repeats: How often.
        settle: Waits until the device has done what an action gave it to do.
    """
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats):
        for action, found in zip(actions, times, strict=True):
            settle()
            started = time.perf_counter()
            action()
            settle()
            found.append(time.perf_counter() - started)
    return times


def ratio(times: Sequence[float], against: Sequence[float]) -> str:
    """Return the median ratio with its range."""
    ratios = [one / other for one, other in zip(times, against, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
