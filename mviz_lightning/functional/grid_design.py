"""The design of two modalities: every pairing of a group's examples."""

import torch
from torch import Tensor

from mviz_lightning.functional import anova, uc_and_mi

SMALLEST_SPLIT = 6
"""Smallest group whose donors are split into halves, so that each example has two or more donors in a half."""

OUTPUTS = 64
"""Number of outputs whose half-splits are in memory at once: 4 MiB for a group of 32."""


class GridDesign:
    """Two modalities: every pairing inside the group, ``g * g`` tuples, row by row (EMAP's grid, in groups)."""

    modalities = 2
    pairs: tuple[tuple[int, int], ...] = ()  # the only pair is the interaction
    inflation = 2.0  # the interaction of two examples changes with either of them (Efron & Stein 1981)

    def __init__(self, size: int, *, splits: int = 16, seed: int = 0) -> None:
        self.size = size
        self.tuples = torch.cartesian_prod(torch.arange(size), torch.arange(size))
        self._splits = anova.half_splits(size, splits, seed)
        others = torch.arange(1, size) + torch.arange(size).unsqueeze(1)
        self._others = others % size
        halves = anova.half_splits(size, 4, seed).flatten(0, 1) if size >= SMALLEST_SPLIT else torch.zeros(0, 0).long()
        self._halves = torch.zeros(len(halves), size).scatter_(1, halves, 1.0).bool()

    def _grid(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(*outputs.shape[:-2], self.size, self.size, outputs.shape[-1])

    def components(self, outputs: Tensor) -> Tensor:
        """Return ``(..., 2 + 2 M + P)`` components."""
        return self._listed(anova.split_components(self._grid(outputs), self._splits))

    def without_each(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, 2 + 2 M + P)`` components of the group without each of its examples."""
        if self.size < SMALLEST_SPLIT:  # a half of two examples, less one, has no interaction
            return self.components(outputs).unsqueeze(-2).expand(*outputs.shape[:-2], self.size, 6)
        parts = torch.split(self._grid(outputs), OUTPUTS, -1)  # components are sums over the outputs
        found = torch.stack([anova.split_components_without_each(part, self._splits) for part in parts])
        return self._listed(found.sum(0))

    @staticmethod
    def _listed(parts: Tensor) -> Tensor:
        first, second, both = parts.unbind(-1)
        return torch.stack([first + second + both, first, second, first + both, second + both, both], -1)

    def own(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the outputs of the real examples."""
        return uc_and_mi.own(self._grid(outputs))

    def unimodal(self, outputs: Tensor) -> Tensor:
        """Return ``(..., g, C)``: the unimodal contribution (UC) of every example."""
        return uc_and_mi.unimodal_contribution(self._grid(outputs))

    def unimodal_halves(self, outputs: Tensor) -> Tensor:
        """Return ``(..., H, g, C)``: UC from half of the donors, H times; H is 0 below six examples."""
        return uc_and_mi.unimodal_contribution_of_donors(self._grid(outputs), self._halves)

    def unimodal_without_donors(self, outputs: Tensor, place: int) -> Tensor:
        """Return ``(..., g - 1, C)``: UC of one example without each of its donors in turn."""
        return uc_and_mi.unimodal_contribution_without_donors(self._grid(outputs), place)

    def swapped(self, outputs: Tensor, modality: int) -> Tensor:
        """Return ``(..., g, D, C)``: every example with one modality from D others."""
        grid = self._grid(outputs) if modality == 1 else self._grid(outputs).transpose(-3, -2)
        return grid[..., torch.arange(self.size).unsqueeze(1), self._others, :]
