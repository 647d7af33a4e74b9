"""Draw the groups of examples that are recombined with one another."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mviz_lightning.batch.strata import distribute, stratum_order, systematic_sample


def draw_groups(target: Tensor | None, count: int, examples: int, size: int, seed: int) -> Tensor:
    """Draw the examples to recombine, in proportion to their labels, and distribute them over groups.

    Args:
        target: ``(count, ...)`` labels of the pool, if known.
        count: Number of examples in the pool.
        examples: Largest number of examples to draw.
        size: Number of examples in a group.
        seed: Seed of the draw.

    Returns:
        ``(G, size)`` indices into the pool.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = min(examples, count) // size
    order = stratum_order(target, count, generator)
    return distribute(systematic_sample(order, groups * size, generator), groups, generator)


def draw_groups_of_kinds(kinds: Sequence[int], target: Tensor | None, examples: int, size: int, seed: int) -> Tensor:
    """Draw groups like :func:`draw_groups`, each from one kind; kinds get groups in proportion to their size.

    Args:
        kinds: The kind of each example of the pool; examples of several kinds cannot be recombined.
        target: ``(count, ...)`` labels of the pool, if known.
        examples: Largest number of examples to draw.
        size: Number of examples in a group.
        seed: Seed of the draw.

    Returns:
        ``(G, size)`` indices into the pool.
    """
    found = [torch.empty(0, size, dtype=torch.long)]
    for kind, groups in _shares(kinds, examples // size, size).items():
        own = torch.tensor([place for place, one in enumerate(kinds) if one == kind])
        labels = None if target is None else target[own]
        found.append(own[draw_groups(labels, len(own), groups * size, size, seed)])
    return torch.cat(found)


def largest_size(kinds: Sequence[int], size: int, least: int) -> int:
    """Return the largest group size, up to ``size``, with which two groups can be drawn within kinds; 0 if none."""
    counts = Counter(kinds).values()
    return next((one for one in range(size, least - 1, -1) if sum(count // one for count in counts) > 1), 0)


def _shares(kinds: Sequence[int], groups: int, size: int) -> dict[int, int]:
    """Return kind -> number of groups, in proportion to the examples of the kinds that can fill a group."""
    counts = {kind: count for kind, count in Counter(kinds).items() if count >= size}
    filled = {kind: count // size for kind, count in counts.items()}
    for _ in range(sum(filled.values()) - groups):
        fullest = max(filled, key=lambda kind: filled[kind] / counts[kind])
        filled[fullest] -= 1
    return {kind: number for kind, number in filled.items() if number}
