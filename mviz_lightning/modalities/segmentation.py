"""How entries are divided into segments: blocks of nearly equal length, runs between padding."""

import torch
from torch import Tensor

from mviz_lightning.errors import renamed_arguments


@renamed_arguments(parts="count")
def blocks(length: int, count: int) -> Tensor:
    """Divide ``length`` entries into up to ``count`` blocks of nearly equal length.

    Returns:
        ``(length,)`` long: the block of every entry, from 0 on.
    """
    return torch.arange(length) * min(count, length) // max(length, 1)


def runs(starts: Tensor, count: int) -> Tensor:
    """Divide the items of every row into up to ``count`` runs of nearly equal length.

    Args:
        starts: ``(N, L)``: 1 where an item (a word, a time step) starts, 0 where it continues, -1 outside of items.
        count: Largest number of runs in a row.

    Returns:
        ``(N, L)`` long: the run of every entry, -1 outside of items.
    """
    if not starts.numel():
        return starts
    number = starts.clamp(min=0).cumsum(1) - 1
    items = number.max(1, keepdim=True).values + 1
    return (number * items.clamp(max=count) // items.clamp(min=1)).where(starts >= 0, -1)
