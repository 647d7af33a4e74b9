"""Draw examples in proportion to their labels, and distribute every stratum over all groups.

Both reduce the error of first-order shares. Groups with equal strata also give intervals with correct coverage.
"""

import torch
from torch import Tensor

from mviz_lightning.functional.rounding import standardisation
from mviz_lightning.functional.targets import decided, labelled, one_each


def stratum_order(target: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    """Sort examples by label, or by the value of a real target; examples with equal labels are in random order.

    Args:
        target: ``(count, ...)`` labels or values, or None for a random order. One-hot rows are sorted by class. Several
            values per example are standardised and averaged.
        count: Number of examples.
        generator: Generator of the random order.

    Returns:
        ``(count,)`` indices.
    """
    shuffled = torch.randperm(count, generator=generator)
    if target is None:
        return shuffled
    # One-hot columns are not averaged: their means would be equal for classes of equal frequency.
    classes = decided(target, "multiclass") if one_each(target[labelled(target)]) else target
    values = classes.reshape(count, -1)
    mean, spread = standardisation(values)
    key = ((values.double() - mean) / spread).mean(1).nan_to_num()
    return shuffled[torch.argsort(key[shuffled], stable=True)]


def systematic_sample(order: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` examples at equal distances along an order, from a random start.

    So every stratum is drawn in proportion to its size.

    Args:
        order: ``(N,)`` examples, ordered by stratum.
        count: Number of examples to draw.
        generator: Generator of the random start.
    """
    start = torch.rand((), generator=generator)
    places = ((torch.arange(count) + start.double()) * len(order) / count).long()
    return order[places.clamp(max=len(order) - 1)]


def distribute(order: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """Distribute ordered examples over groups: of any ``groups`` consecutive examples, each group gets one.

    Args:
        order: ``(groups * size,)`` examples, ordered by stratum.
        groups: Number of groups.
        generator: Generator of the random distribution. The order inside a group is also random, because designs shift
            examples along this order.

    Returns:
        ``(groups, size)`` examples.
    """
    rounds = order.view(-1, groups)
    dealt = torch.stack([hand[torch.randperm(groups, generator=generator)] for hand in rounds], 1)
    return torch.stack([group[torch.randperm(len(group), generator=generator)] for group in dealt])
