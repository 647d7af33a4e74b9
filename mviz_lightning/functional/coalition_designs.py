"""Recombinations of a group that estimate the values of coalitions of modalities (product of the marginals)."""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from mviz_lightning.functional.coalitions import all_coalitions, modality_shapley, permutation_gains
from mviz_lightning.functional.designs import design

BUDGET = 32
"""Default number of rows per example: about half the rows of contribution shares of three modalities."""

LARGEST = 8
"""Largest number of modalities whose coalitions are all evaluated: 2^8 = 256 coalitions."""


class CoalitionDesign(Protocol):
    """The tuples of one group of g examples with M modalities, and statistics of their ``(..., T, C)`` outputs.

    Each modality outside a coalition comes from another example of the group, and no two of them from the same example.
    So expectations are over the product of the marginals: recombined examples may be unlike any real one.

    Attributes:
        size: Examples in a group, g.
        modalities: Number of modalities, M.
        tuples: ``(T, M)`` positions inside the group: row t takes modality m from example ``tuples[t, m]``.
    """

    size: int
    modalities: int
    tuples: Tensor

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""

    def shapley(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, J, M, C)``: J independent estimates of the Shapley values of every example."""


class ValuedCoalitions(CoalitionDesign, Protocol):
    """A design that evaluates all ``2^M`` coalitions; interactions need all of them."""

    def values(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, J, 2^M, C)``: the values in the order of :func:`all_coalitions`, for J draws of donors."""


@lru_cache(maxsize=32)
def full_coalition_design(modalities: int, size: int, *, budget: int = BUDGET, seed: int = 0) -> ValuedCoalitions:
    """Return the design that evaluates all coalitions.

    Evaluate the model on its ``tuples``, ``(T, M)`` positions inside each group, and pass the ``(G, T, C)`` outputs to
    its methods. Two modalities use the grid of :func:`design`, so they need no further rows. Three or more modalities
    use ``2^M - 1`` rows per example and draw, with as many draws as the budget allows, but at least 2. All coalitions
    of a draw have the same donors, so the interactions of an additive model are exactly 0.

    Args:
        modalities: Number of modalities, M, 2 to 8.
        size: Examples in a group: 4 or more for two modalities, 4 M or more for M.
        budget: Largest number of rows per example; not used for two modalities.
        seed: Seed of the donors.

    Raises:
        ValueError: There are more than 8 modalities, or :func:`design` raises it.
    """
    if modalities > LARGEST:
        raise ValueError(
            f"modalities={modalities}: all coalitions would take {2**modalities} rows per example and draw; "
            f"{LARGEST} modalities are the most."
        )
    base = design(modalities, size, seed=seed)
    if modalities == 2:
        return GridCoalitions(size, seed=seed)
    return TupleCoalitions(modalities, base.size, draws=max(2, budget // 2**modalities), seed=seed)


@lru_cache(maxsize=32)
def coalition_design(modalities: int, size: int, *, budget: int = BUDGET, seed: int = 0) -> CoalitionDesign:
    """Return the design for Shapley values of modalities.

    Evaluate the model on its ``tuples``, ``(T, M)`` positions inside each group, and pass the ``(G, T, C)`` outputs to
    its methods. If two draws of all coalitions fit into the budget, the design is :func:`full_coalition_design`.
    Otherwise it uses random orders of the modalities, each with its reverse: ``2 M - 1`` rows per example and order.

    Args:
        modalities: Number of modalities, M, 2 or more.
        size: Examples in a group: 4 or more for two modalities, 4 M or more for M.
        budget: Number of rows per example.
        seed: Seed of donors and orders.

    Raises:
        ValueError: :func:`design` raises it.

    Example:
        >>> coalition_design(2, 16).tuples.shape  # the grid of the group
        torch.Size([256, 2])
        >>> coalition_design(3, 16).tuples.shape  # the 16 examples, and 4 draws of 7 coalitions of each
        torch.Size([464, 3])
    """
    if modalities == 2 or 2 * 2**modalities <= max(budget, 16):
        return full_coalition_design(modalities, size, budget=budget, seed=seed)
    design(modalities, size, seed=seed)  # raises for groups that are too small
    pairs = max(2, budget // (2 * modalities - 1))
    return PermutationCoalitions(modalities, size, pairs=pairs, seed=seed)


class GridCoalitions:
    """Two modalities: the grid of contribution shares contains all coalitions, with g - 1 donors."""

    modalities = 2

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self.size = size
        self._grid = design(2, size, seed=seed)
        self.tuples = self._grid.tuples

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return self._grid.own(outputs)

    def values(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, 1, 4, C)``: the values of none, the first, the second, and both."""
        first, second = (self._grid.swapped(outputs, other).mean(-2) for other in (1, 0))
        nothing = first + second - self._grid.unimodal(outputs)
        return torch.stack([nothing, first, second, self.own(outputs)], -2).unsqueeze(-3)

    def shapley(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, 1, 2, C)``: the Shapley values of every example."""
        return modality_shapley(self.values(outputs))


class TupleCoalitions:
    """Three or more modalities: in draw j, a modality m outside the coalition of example i comes from ``i + t_jm``.

    All shifts t of a draw differ and none is 0, so a tuple never contains two modalities of one donor.
    """

    def __init__(self, modalities: int, size: int, *, draws: int, seed: int) -> None:
        self.size, self.modalities, self._draws = size, modalities, draws
        shifts = draw_shifts(modalities, size, draws, torch.Generator().manual_seed(seed))
        inside = all_coalitions(modalities)[:-1, None, None]
        own = _own_tuples(size, modalities)
        self.tuples = torch.cat([own, torch.where(inside, own, _donors(shifts, size)).flatten(0, 2)])

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return outputs[..., : self.size, :]

    def values(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, J, 2^M, C)``: the values in the order of :func:`all_coalitions`, for J draws of donors."""
        shape = (2**self.modalities - 1, self._draws, self.size, outputs.shape[-1])
        values = outputs[..., self.size :, :].reshape(*outputs.shape[:-2], *shape)
        full = self.own(outputs)[..., None, None, :, :].expand(*values.shape[:-4], 1, *shape[1:])
        return torch.cat([values, full], -4).movedim((-4, -3, -2), (-2, -3, -4))

    def shapley(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, J, M, C)``: J independent estimates of the Shapley values of every example."""
        return modality_shapley(self.values(outputs))


class PermutationCoalitions:
    """Many modalities: each example has its own random orders, and coalitions grow along an order and its reverse."""

    def __init__(self, modalities: int, size: int, *, pairs: int, seed: int) -> None:
        self.size, self.modalities, self._pairs = size, modalities, pairs
        generator = torch.Generator().manual_seed(seed)
        shifts = draw_shifts(modalities, size, pairs, generator)
        self._order = torch.rand(pairs, size, modalities, generator=generator).argsort(-1)
        rank = self._order.argsort(-1)
        sizes = torch.arange(1, modalities)[:, None, None, None]
        forward, backward = rank < sizes, rank >= modalities - sizes
        inside = torch.cat([torch.zeros_like(rank[None], dtype=torch.bool), forward, backward])
        own = _own_tuples(size, modalities)
        self.tuples = torch.cat([own, torch.where(inside, own, _donors(shifts, size)).flatten(0, 2)])

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return outputs[..., : self.size, :]

    def shapley(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, J, M, C)``: for every example one estimate per order, averaged with the order's reverse."""
        shape = (2 * self.modalities - 1, self._pairs, self.size, outputs.shape[-1])
        values = outputs[..., self.size :, :].reshape(*outputs.shape[:-2], *shape)
        full = self.own(outputs)[..., None, None, :, :].expand(*values.shape[:-4], 1, *shape[1:])
        empty, forward, backward = torch.split(values, [1, self.modalities - 1, self.modalities - 1], -4)
        chains = (torch.cat([empty, part, full], -4).movedim(-4, -2) for part in (forward, backward))
        orders = (self._order, self._order.flip(-1))
        gains = [permutation_gains(chain, order) for chain, order in zip(chains, orders, strict=True)]
        return torch.stack(gains).mean(0).transpose(-4, -3)


def draw_shifts(modalities: int, size: int, draws: int, generator: torch.Generator) -> Tensor:
    """Return ``(J, M)`` shifts modulo the size of a group: the shifts of one draw differ, and none is 0.

    For one modality, no shift repeats until every other example was its donor. Draws that share donors are correlated,
    and their spread would then underestimate the error.
    """
    rounds = -(-draws // (size - 1))
    orders = torch.stack([1 + torch.randperm(size - 1, generator=generator) for _ in range(rounds)])
    places = (torch.arange(size - 1)[:, None] + torch.arange(modalities)) % (size - 1)
    return orders[:, places].flatten(0, 1)[:draws]


def _own_tuples(size: int, modalities: int) -> Tensor:
    return torch.arange(size).unsqueeze(1).expand(-1, modalities)


def _donors(shifts: Tensor, size: int) -> Tensor:
    """Return ``(J, g, M)``: the donor of each modality that is outside the coalition."""
    return (torch.arange(size)[:, None] + shifts[:, None]) % size
