"""Intervals from the groups, without further forward passes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

MOST_BLOCKS = 16
"""Largest number of deletions of a statistic that has to be computed anew for each; more gain little."""


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
    return _estimate(value, statistic((groups.sum(0) - groups) / (count - 1)), level)


def jackknife_blocks(count: int, statistic: Callable[[Tensor], Tensor], level: float = 0.95) -> Estimate:
    """Estimate any statistic of groups with a delete-a-block jackknife interval, as in :func:`jackknife`.

    Args:
        count: Number of groups.
        statistic: Function from the ``(n,)`` indices of some groups to values ``(K,)``, for example a score of their
            examples.
        level: Nominal coverage of the interval.

    Returns:
        Values and bounds ``(K,)``, not clipped. Up to 16 blocks of groups are deleted in turn.
    """
    groups = torch.arange(count)
    value = statistic(groups)
    if count < 2:
        return Estimate(value, value * float("nan"), value * float("nan"))
    blocks = groups.tensor_split(min(count, MOST_BLOCKS))
    return _estimate(value, torch.stack([statistic(groups[~torch.isin(groups, block)]) for block in blocks]), level)


def _estimate(value: Tensor, deleted: Tensor, level: float) -> Estimate:
    """Return the interval from the ``(J, K)`` statistics after each deletion."""
    count = len(deleted)
    error = ((count - 1) / count * (deleted - deleted.mean(0)).square().sum(0)).sqrt()
    half = error * float(stdtrit(count - 1, (1 + level) / 2))
    return Estimate(value, value - half, value + half)
