"""Jackknife intervals over groups and their examples, without further forward passes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

MOST_BLOCKS = 16
"""Largest number of deleted blocks if each deletion recomputes the statistic; more blocks improve intervals little."""


class Estimate(NamedTuple):
    """Values and their intervals, each ``(K,)``; the bounds are NaN if there is only one group."""

    value: Tensor
    low: Tensor
    high: Tensor


class Deletions(NamedTuple):
    """The components of each group without each of its examples.

    Attributes:
        components: ``(G, g, S)``, from :meth:`Design.without_each`.
        inflation: ``Design.inflation``: the largest factor by which this jackknife overestimates the variance.
    """

    components: Tensor
    inflation: float


def jackknife(
    groups: Tensor,
    statistic: Callable[[Tensor], Tensor],
    level: float = 0.95,
    *,
    deletions: Deletions | None = None,
) -> Estimate:
    """Estimate a statistic of mean components with a jackknife interval (Tukey 1958).

    With ``s_(j)`` the statistic of the mean without group j: ``se^2 = (G - 1) / G * sum_j (s_(j) - mean)^2``, and the
    interval is ``s +- t * se``, with t a quantile of Student's distribution of G - 1 degrees of freedom.

    Few groups sometimes agree by chance, above all where a variance component is 0, because its estimates are skewed.
    The interval is then narrow although the estimate is wrong. With ``deletions`` the interval has a smallest width,
    computed from all examples: with ``s_(e)`` the statistic without example e, ``se^2 = (g - 1) / g * sum_e (s_(e) -
    mean of the group)^2 / inflation``. Its degrees of freedom are the effective number of examples, ``(sum_e d_e^2)^2 /
    sum_e d_e^4`` of the deviations d. They are few if few examples cause the variance.

    Args:
        groups: ``(G, S)`` components of every group.
        statistic: Function from mean components ``(..., S)`` to values ``(..., K)``, for example
            :func:`share_ratios`. It is computed after each deletion.
        level: Nominal coverage of the interval.
        deletions: Components without each example.

    Returns:
        Values and bounds ``(K,)``, not clipped.
    """
    count = len(groups)
    value = statistic(groups.mean(0))
    if count < 2:
        return Estimate(value, value * float("nan"), value * float("nan"))
    found = _estimate(value, statistic((groups.sum(0) - groups) / (count - 1)), level)
    if deletions is None:
        return found
    half = torch.maximum(found.high - value, _least_half_width(groups, statistic, deletions, level))
    return Estimate(value, value - half, value + half)


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


def _least_half_width(
    groups: Tensor, statistic: Callable[[Tensor], Tensor], deletions: Deletions, level: float
) -> Tensor:
    """Return ``(K,)``: the smallest half-width, computed from all examples."""
    count, size = deletions.components.shape[:2]
    changes = (deletions.components - groups.unsqueeze(1)) / count
    deleted = statistic(groups.mean(0) + changes)
    squares = (deleted - deleted.mean(1, keepdim=True)).square().flatten(0, 1)
    total, fourth = squares.sum(0), squares.square().sum(0)
    effective = (total.square() / fourth).nan_to_num(count * size).clamp(min=count - 1)
    quantile = torch.as_tensor(stdtrit(effective.cpu().numpy(), (1 + level) / 2)).to(total)
    return ((size - 1) / size * total / deletions.inflation).sqrt() * quantile
