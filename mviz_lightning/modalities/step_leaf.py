"""A leaf with a time axis: conversion to a table of time steps and channels, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.modalities.typical_values import most_frequent


@dataclass(frozen=True)
class StepLeaf:
    """A leaf of a series.

    Attributes:
        path: Path of the leaf.
        values: ``(N, ...)`` the leaf of all examples.
        time: The time axis, 1 or larger.
        rows: The axis of the channels; None if the leaf is one channel, the mean over all other axes.
    """

    path: str
    values: Tensor
    time: int
    rows: int | None

    @classmethod
    def of(cls, path: str, values: Tensor, time: int) -> "StepLeaf":
        """Return a leaf whose channels are its third axis, if it has three."""
        return cls(path, values, time, 3 - time if values.dim() == 3 else None)

    @property
    def table(self) -> Tensor:
        """``(N, T, D)`` float: means over all axes that are neither time nor channels."""
        axes = (self.time,) if self.rows is None else (self.time, self.rows)
        moved = self.values.movedim(axes, (1, 2)[: len(axes)])
        found: Tensor = moved.reshape(*moved.shape[: len(axes) + 1], -1).float().mean(-1)
        return found if found.dim() == 3 else found.unsqueeze(2)

    def as_leaf(self, table: Tensor) -> Tensor:
        """Return a table ``(n, T, d)`` with its axes in the order of the leaf's axes."""
        shape = [len(table), *[1] * (self.values.dim() - 1)]
        shape[self.time] = table.shape[1]
        if self.rows is None:
            return table.reshape(shape)
        shape[self.rows] = table.shape[2]
        return (table.transpose(1, 2) if self.rows < self.time else table).reshape(shape)

    @property
    def holds_reals(self) -> bool:
        """Whether the leaf has real numbers."""
        return self.values.is_floating_point()


def most_frequent_entry(values: Tensor, time: int, real: Tensor) -> Tensor:
    """Return the most frequent entry at real steps, for each position within a step; broadcastable to the values.

    Args:
        values: ``(N, ...)`` integers.
        time: The time axis.
        real: ``(N or 1, T)`` bool, False at padding.
    """
    kept = values.movedim(time, 1)[real.expand(len(values), -1)]
    common = most_frequent(kept.reshape(len(kept), -1)).view(1, 1, *kept.shape[1:])
    return common.movedim(1, time)


def masked_with(leaf: object, time: int, length: int) -> bool:
    """Return whether a further leaf of a modality is masked at the steps (regions) of its values.

    Real numbers and categories are masked if they have one entry per step. Booleans are masks, and integers that
    increase with every step are positions; both are not masked.

    Args:
        leaf: The further leaf.
        time: The axis of the steps.
        length: Number of steps of the values.
    """
    if not isinstance(leaf, Tensor) or not 0 < time < leaf.dim() or leaf.shape[time] != length:
        return False
    if leaf.dtype == torch.bool or leaf.is_complex():
        return False
    return leaf.is_floating_point() or not _rises(leaf.movedim(time, 1).reshape(len(leaf), length, -1))


def _rises(steps: Tensor) -> bool:
    """Return whether ``(N, T, D)`` integers increase with the steps up to the padding, like positions and times."""
    if steps.shape[1] < 2:
        return False
    up, padding = steps[:, 1:] > steps[:, :-1], steps[:, 1:] == steps[:, -1:]
    return bool((up | padding).all() and up.any(1).all())
