"""Intervals from the groups, without further forward passes."""

from collections.abc import Callable
from typing import NamedTuple

from scipy.special import stdtrit
from torch import Tensor


class Estimate(NamedTuple):
    """Values and their intervals, each ``(K,)``; the bounds are NaN if there is only one group."""

    value: Tensor
    low: Tensor
    high: Tensor


def jackknife(groups: Tensor, statistic: Callable[[Tensor], Tensor], level: float = 0.95) -> Estimate:
    """Estimate a statistic of mean components with a delete-one-group jackknife interval (Tukey 1958).

    With ``s_(j)`` the statistic of the mean without group j: ``se^2 = (G - 1) / G * sum_j (s_(j) - mean)^2``, and the
    interval is ``s +- t * se``, with t a quantile of Student's distribution of G - 1 degrees of freedom.

    Args:
        groups: ``(G, S)`` components of every group.
        statistic: Function from mean components ``(..., S)`` to values ``(..., K)``, for example
            :func:`share_ratios`. It is applied after deletion.
        level: Nominal coverage of the interval.

    Returns:
        Values and bounds ``(K,)``, not clipped.
    """
    count = len(groups)
    value = statistic(groups.mean(0))
    if count < 2:
        return Estimate(value, value * float("nan"), value * float("nan"))
    deleted = statistic((groups.sum(0) - groups) / (count - 1))
    error = ((count - 1) / count * (deleted - deleted.mean(0)).square().sum(0)).sqrt()
    half = error * float(stdtrit(count - 1, (1 + level) / 2))
    return Estimate(value, value - half, value + half)
