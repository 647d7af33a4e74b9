"""Sample the positions at which outputs of maps and sequences are read, in proportion to the labels."""

import torch
from torch import Tensor


def lattice_places(labels: Tensor, known: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw the same positions for all examples of a group.

    This is a systematic sample over all labelled pairs of an example and a position, sorted by label. Every class is
    drawn in proportion to its frequency, and a position in proportion to the number of examples with a label there. So
    a mean over the sample is an unbiased mean over the labelled positions. If all examples have labels at all
    positions, and their number is ``count``, each position is taken once.

    Args:
        labels: ``(g, L)`` labels or values by which pairs are sorted.
        known: ``(g, L)`` bool, the pairs with a label.
        count: Number of positions to draw, P.
        generator: Generator of the sample.

    Returns:
        ``(P,)`` long; if there are no labels, a sample of all positions.
    """
    length = labels.shape[1]
    if length == count and bool(known.all() | ~known.any()):
        return torch.arange(length)
    pairs = (known if bool(known.any()) else ~known).flatten().nonzero()[:, 0]
    shuffled = pairs[torch.randperm(len(pairs), generator=generator)]
    order = shuffled[labels.flatten()[shuffled].argsort(stable=True)]
    ranks = _systematic(torch.tensor([len(order)]), count, generator)[0]
    return order[ranks] % length


def slot_places(known: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw slots for sequences of different lengths: slot k of an example is its ``floor(u_k * L)``-th valid position.

    The ``u_k`` are the same for all examples, so that the rows of recombined examples can be compared slot by slot.

    Args:
        known: ``(n, L)`` bool, the valid positions of each example.
        count: Number of slots, P.
        generator: Generator of the sample.

    Returns:
        ``(n, P)`` long; 0 for an example without valid positions.
    """
    lengths = known.sum(1)
    ranks = _systematic(lengths.clamp(min=1), count, generator)
    order = (~known).to(torch.uint8).argsort(dim=1, stable=True)
    return order.gather(1, ranks)


def slots(known: Tensor, count: int) -> Tensor:
    """Return ``(n, P)`` long: for P equal parts of every sequence, the valid position in the middle of each."""
    lengths = known.sum(1).clamp(min=1).unsqueeze(1)
    ranks = ((torch.arange(count) + 0.5) / count * lengths).long().minimum(lengths - 1)
    return (~known).to(torch.uint8).argsort(dim=1, stable=True).gather(1, ranks)


def cells_of(known: Tensor, count: int) -> Tensor:
    """Return ``(K,)`` long: for each of the K valid positions of a sequence, the nearest of :func:`slots`."""
    length = int(known.sum())
    return ((torch.arange(length) + 0.5) / max(1, length) * count).long().clamp(max=count - 1)


def _systematic(lengths: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``(n, P)``: ``floor(u_k * L)`` for each length L, with equally spaced ``u_k`` from a random start."""
    start = torch.rand((), generator=generator, dtype=torch.float64)
    places = (torch.arange(count) + start) / count
    return (places * lengths.double().unsqueeze(1)).long().minimum(lengths.unsqueeze(1) - 1)


def mapped(ranks: Tensor, own: int, known: Tensor) -> Tensor:
    """Return the positions of a second sequence at the same relative places as given positions of a first.

    Args:
        ranks: ``(K,)`` long: ranks among the valid positions of the first sequence.
        own: Number of valid positions of the first sequence.
        known: ``(L,)`` bool: the valid positions of the second sequence. If there are none, its last position is used.
    """
    valid = known.nonzero()[:, 0]
    if not len(valid):
        return torch.full_like(ranks, len(known) - 1)
    return valid[((ranks + 0.5) / max(1, own) * len(valid)).long().clamp(max=len(valid) - 1)]
