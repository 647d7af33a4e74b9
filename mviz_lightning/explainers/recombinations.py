"""Outputs of the recombinations of all groups; if outputs have positions, each example is read in its own region."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.explainers.base import ProbeContext
from mviz_lightning.functional import Design


@dataclass(frozen=True)
class Recombinations:
    """The outputs of the recombined rows of all groups, and statistics of every example.

    If outputs have positions, every row is read in the regions of all K = g members of its group. The statistics of an
    example use all rows in the region of this example. Otherwise K = 1.

    Attributes:
        design: The tuples of a group.
        raw: ``(G, T, K, C)`` outputs of the model.
        scaled: ``(G, T, K, C)`` in float64, on the scale for decomposition.
    """

    design: Design
    raw: Tensor
    scaled: Tensor

    @classmethod
    def of(cls, probe_context: ProbeContext, responses: Tensor) -> "Recombinations":
        """Return the recombinations from the responses ``(G * T, K * C)`` of all groups."""
        groups, read = len(probe_context.probe.groups), probe_context.regions_read
        raw = responses.view(groups, -1, read, responses.shape[-1] // read)
        return cls(probe_context.design, raw, probe_context.decomposable(raw))

    @property
    def own(self) -> Tensor:
        """``(G, g, C)``: the model's outputs of the real examples."""
        return self._of_each(self.design.own(self.raw.flatten(2)))

    @property
    def value(self) -> Tensor:
        """``(G, g, C)``: the outputs of the real examples, on the scale for decomposition."""
        return self._of_each(self.design.own(self.scaled.flatten(2)))

    @property
    def unimodal(self) -> Tensor:
        """``(G, g, C)``: the unimodal contribution (UC) of every example."""
        return self._of_each(self.design.unimodal(self.scaled.flatten(2)))

    @property
    def unimodal_halves(self) -> Tensor:
        """``(G, H, g, C)``: UC from half of the donors or draws, H times; H is 0 if there are too few."""
        return self._of_each(self.design.unimodal_halves(self.scaled.flatten(2)))

    def unimodal_without_donors(self, group: int, place: int) -> Tensor:
        """Return ``(g - 1, C)``: UC of one example without each of its donors in turn."""
        return self.design.unimodal_without_donors(self.scaled[group, :, place % self.scaled.shape[2]], place)

    def columns(self, outputs: Tensor) -> Tensor:
        """Return ``(G, g)``: the columns of ``scaled.flatten(2)`` with one output ``(G, g)`` of each example."""
        read, count = self.scaled.shape[2:]
        return outputs + torch.arange(outputs.shape[1]) % read * count

    def _of_each(self, found: Tensor) -> Tensor:
        return of_members(found, self.raw.shape[2])


def of_members(found: Tensor, read: int) -> Tensor:
    """Return ``(..., g, C)`` from ``(..., g, K * C)``: the outputs of every member of a group in its own region.

    Args:
        found: The outputs of each member in the regions of all members.
        read: Number of regions, K: g, or 1.
    """
    members, rows = found.shape[-2], found.shape[:-1]
    by_region: Tensor = found.reshape(*rows, read, -1).expand(*rows, members, -1)
    return by_region.diagonal(dim1=-3, dim2=-2).movedim(-1, -2)


def of_examples(probe_context: ProbeContext, found: Tensor, examples: Sequence[int]) -> Tensor:
    """Return ``(R, C)`` from ``(R, K * C)``: the outputs of real examples in their own regions.

    Args:
        probe_context: The fixed examples and how their outputs are read.
        found: The outputs of each row in the regions of all members of its group.
        examples: The R examples.
    """
    by_region = found.view(len(found), probe_context.regions_read, -1)
    places = [probe_context.group(example)[1] % by_region.shape[1] for example in examples]
    return by_region[torch.arange(len(found)), torch.tensor(places)]
