"""Labels of every position of an example: of the pixels of a map or of the tokens of a text."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""Label of a position without a label: the default ``ignore_index`` of PyTorch's losses."""


@dataclass(frozen=True)
class PositionLabels:
    """Labels of all positions of some examples, in the smallest integer type for them.

    Attributes:
        labels: ``(N, L)`` classes or values of the L positions, or ``(N, L, C)`` labels; -100, or NaN in values, marks
            a position without a label.
        lattice: Sizes of the axes of positions: ``(H, W)`` or ``(T,)``.
        outputs: Number of outputs of a position, C.
        carrier: Column of the modality that determines a row's positions, such as the text for tokens; None if the same
            positions exist in every example.
    """

    labels: Tensor
    lattice: tuple[int, ...]
    outputs: int
    carrier: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, examples: Tensor) -> "PositionLabels":
        """Return the labels of some examples."""
        return replace(self, labels=self.labels[examples])

    @property
    def numbers(self) -> int:
        """Number of outputs of an example, over all positions."""
        return self.labels.shape[1] * self.outputs

    @property
    def wide(self) -> tuple[int, ...]:
        """Sizes of the axes with more than one position."""
        return tuple(size for size in self.lattice if size > 1) or (1,)

    @property
    def is_map(self) -> bool:
        """Whether positions have two axes or more."""
        return len(self.wide) > 1

    def known(self, examples: Tensor | None = None) -> Tensor:
        """Return ``(N, L)`` bool: the positions with a label, of all or of some examples."""
        found = self.labels if examples is None else self.labels[examples]
        known = found.isfinite() if found.is_floating_point() else found != IGNORED
        return known.flatten(2).all(2) if known.dim() > 2 else known

    def at(self, places: Tensor) -> Tensor:
        """Return ``(N, P)`` or ``(N, P, C)`` labels at positions ``(N, P)`` of each example, in a plain type."""
        rows = torch.arange(len(self.labels)).unsqueeze(1)
        found = self.labels[rows, places]
        return found if found.is_floating_point() else found.long()


def compact(classes: Tensor, outputs: int) -> Tensor:
    """Return class labels in the smallest integer type that can represent ``outputs`` classes and -100."""
    limit = max(2, outputs) - 1
    kinds = (torch.int8, torch.int16, torch.int32)
    return classes.to(next(kind for kind in kinds if limit <= torch.iinfo(kind).max))


def example_labels(found: PositionLabels, task: Any) -> Tensor:
    """Return ``(N, ...)``: one label of each example, with which examples are drawn, chosen and explained.

    For classes, it is the most frequent class of the example, except the most frequent class of all examples (often
    background) if the example has another. For values, it is their mean. Without any label, it is -100, or NaN in a
    regression.
    """
    known = found.known()
    if task == "regression":
        wide = known.view(*known.shape, *[1] * (found.labels.dim() - 2))
        sums = found.labels.double().masked_fill(~wide, 0).sum(1)
        return sums / known.sum(1).view(-1, *[1] * (sums.dim() - 1))
    counts = class_counts(found, task)
    return _chosen(counts) if task != "multilabel" else _labels_of(counts, known.sum(1))


def class_counts(found: PositionLabels, task: Any) -> Tensor:
    """Return ``(N, K)`` long: the number of positions of each example with each class or label."""
    count: Callable[[Tensor], Tensor] = _on if task == "multilabel" else partial(_classes, outputs=found.outputs)
    return torch.stack([count(one) for one in found.labels])


def _on(labels: Tensor) -> Tensor:
    return (labels == 1).sum(0)


def _classes(labels: Tensor, outputs: int) -> Tensor:
    return labels[labels != IGNORED].long().bincount(minlength=max(2, outputs))[: max(2, outputs)]


def _chosen(counts: Tensor) -> Tensor:
    usual = int(counts.sum(0).argmax())
    others = counts.clone()
    others[:, usual] = 0
    chosen = others.argmax(1).where(others.any(1), usual)
    return chosen.where(counts.any(1), IGNORED)


def _labels_of(counts: Tensor, known: Tensor) -> Tensor:
    """Return ``(N, K)`` labels of each example: labels at half of its positions or more, and the most frequent one."""
    most = torch.nn.functional.one_hot(counts.argmax(1), counts.shape[1]).bool() & (counts > 0)
    on = (2 * counts >= known.unsqueeze(1)) | most
    return on.long().where(known.unsqueeze(1) > 0, IGNORED)
