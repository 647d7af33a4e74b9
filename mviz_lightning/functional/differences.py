"""Differences of two independent measurements, each value with its 95 % interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mviz_lightning.functional.contribution import bound_of

SCORES = ("score", "emap_score", "emap_gap", "perceptual", "flips")
"""Kinds of values that are compared even if they have no interval."""


@dataclass(frozen=True)
class ShareDifference:
    """A difference with its 95 % interval; the bounds are NaN where the values have none.

    Attributes:
        value: The first value less the second.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def share_differences(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, ShareDifference]:
    """Subtract the shares and scores that two measurements have in common.

    The measurements count as independent, so the squares of the half-widths of their intervals add up. Each half-width
    keeps the Student's t of its own measurement. Both make the interval a little too wide, because measurements on the
    same examples mostly err in the same direction.

    Args:
        first: Name without prefix -> value, bounds too: ``total/image``, ``total_low/image``, ``total_high/image``.
        second: Values of the second measurement.

    Returns:
        Name of a share or score that both have -> the first less the second, in the order of the first.
    """
    both = [name for name in first if name in second and _is_compared(name, first)]
    return {name: _difference(name, first, second) for name in both}


def _is_compared(name: str, values: Mapping[str, float]) -> bool:
    return bound_of(name, "low") in values or name.partition("/")[0] in SCORES


def _difference(name: str, first: Mapping[str, float], second: Mapping[str, float]) -> ShareDifference:
    value = first[name] - second[name]
    low, high = (bound_of(name, "low"), bound_of(name, "high"))
    if not {low, high} <= first.keys() & second.keys():
        return ShareDifference(value, math.nan, math.nan)
    half = math.hypot(*((values[high] - values[low]) / 2 for values in (first, second)))
    return ShareDifference(value, value - half, value + half)
