"""Draw examples proportionally over labels, and deal the strata out over groups.

Both cut the error of first-order shares; dealt strata also keep the interval honest.
"""

import torch
from torch import Tensor

from mviz_lightning.functional.targets import decided, labelled, one_each
from mviz_lightning.functional.variation import standardisation


def stratum_order(target: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
    """Sort examples by label (or by the size of a real target), at random among equals.

    Args:
        target: ``(count, ...)`` labels or values; of one-hot rows the class counts, and several others an example are
            averaged after standardisation.
        count: How many examples there are.
        generator: Of the random order.

    Returns:
        ``(count,)`` indices.
    """
    shuffled = torch.randperm(count, generator=generator)
    if target is None:
        return shuffled
    # As one-hot columns, classes that are equally frequent would be the same.
    classes = decided(target, "multiclass") if one_each(target[labelled(target)]) else target
    values = classes.reshape(count, -1)
    mean, spread = standardisation(values)
    key = ((values.double() - mean) / spread).mean(1).nan_to_num()
    return shuffled[torch.argsort(key[shuffled], stable=True)]


def systematic_sample(order: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Take ``count`` examples at equal distances along an order, from a random start: every stratum gives its share."""
    start = torch.rand((), generator=generator)
    places = ((torch.arange(count) + start.double()) * len(order) / count).long()
    return order[places.clamp(max=len(order) - 1)]


def deal(order: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """Deal ordered examples out like cards.

    Args:
        order: ``(groups * size,)`` examples, neighbours alike.
        groups: How many hands.
        generator: Of the random deal; the order inside a group is random too, since designs shift along it.

    Returns:
        ``(groups, size)``.
    """
    rounds = order.view(-1, groups)
    dealt = torch.stack([hand[torch.randperm(groups, generator=generator)] for hand in rounds], 1)
    return torch.stack([group[torch.randperm(len(group), generator=generator)] for group in dealt])
