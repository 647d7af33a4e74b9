"""Intervals without further forward passes."""

from collections.abc import Callable
from typing import NamedTuple

from scipy.special import stdtrit
from torch import Tensor


class Estimate(NamedTuple):
    """A value and its interval, each ``(K,)``; the bounds are NaN where one group alone gave the value."""

    value: Tensor
    low: Tensor
    high: Tensor


def jackknife(groups: Tensor, statistic: Callable[[Tensor], Tensor], level: float = 0.95) -> Estimate:
    """Estimate a statistic of mean components, with a delete-one-group interval (Student t, G - 1 degrees of freedom).

    Args:
        groups: ``(G, S)`` components of every group.
        statistic: From mean components ``(..., S)`` to values ``(..., K)``, ratios say; applied after deletion.
        level: Coverage of the interval.

    Returns:
        The estimate; nothing is clipped.
    """
    count = len(groups)
    value = statistic(groups.mean(0))
    if count < 2:
        return Estimate(value, value * float("nan"), value * float("nan"))
    deleted = statistic((groups.sum(0) - groups) / (count - 1))
    error = ((count - 1) / count * (deleted - deleted.mean(0)).square().sum(0)).sqrt()
    half = error * float(stdtrit(count - 1, (1 + level) / 2))
    return Estimate(value, value - half, value + half)
