"""The score side: what recombining examples costs in accuracy."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.outputs import Task, levelled
from mviz_lightning.functional.targets import labelled

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A score of predictions and targets, such as ``torchmetrics.functional.classification.binary_accuracy``."""


def emap_gap(outputs: Tensor, target: Tensor, design: Design, *, task: Task, score: Score) -> Tensor:
    """Return how much the score falls without interactions (Hessel & Lee 2020).

    ``score(f) - score(UC)``: the model's score, less that of its unimodal contributions alone. Donors of an example are
    the other examples of its group. Interactions that leave the decision unchanged do not count; read the gap beside
    the shares.

    Args:
        outputs: ``(G, T, C)`` logits or values of the design's T tuples in G groups.
        target: ``(G, g, ...)`` labels. -100, or NaN in a regression, means no label; such examples do not count.
        design: The tuples.
        task: What the outputs stand for.
        score: Function of ``(n, C)`` or ``(n,)`` predictions (probabilities, or values) and their targets.

    Returns:
        ``()``. Mirrored by :class:`~mviz_lightning.metrics.EMAPGap`.
    """
    outputs = comparable(outputs, task)
    parts = design.own(outputs), design.unimodal(outputs)
    full, additive = (score(*labelled_predictions(part, target, task)) for part in parts)
    return full - additive


def perceptual_score(outputs: Tensor, target: Tensor, design: Design, *, task: Task, score: Score) -> Tensor:
    """Return how much the score falls when one modality is taken from other examples (Gat et al. 2021).

    ``score(f(x)) - mean over donors j of score(f(x with modality m of j))``, not divided by the score of the model.
    Donors of an example are the other examples of its group.

    Args:
        outputs: ``(G, T, C)`` logits or values of the design's T tuples in G groups.
        target: ``(G, g, ...)`` labels, as in :func:`emap_gap`.
        design: The tuples.
        task: What the outputs stand for.
        score: As in :func:`emap_gap`.

    Returns:
        ``(M,)``. Mirrored by :class:`~mviz_lightning.metrics.PerceptualScore`.

    Example:
        >>> import torch
        >>> from mviz_lightning.functional import design
        >>> from torchmetrics.functional.classification import binary_accuracy
        >>> grid, target = design(2, 4), torch.tensor([[0, 1, 0, 1]])
        >>> logits = (2.0 * target - 1)[:, grid.tuples[:, 0]].unsqueeze(-1)  # the first modality decides alone
        >>> perceptual_score(logits, target, grid, task="binary", score=binary_accuracy)
        tensor([0.6667, 0.0000])
    """
    outputs = comparable(outputs, task)
    full = score(*labelled_predictions(design.own(outputs), target, task))
    swapped = [swapped_examples(outputs, target, design, modality) for modality in range(design.modalities)]
    return torch.stack([full - score(*labelled_predictions(*examples, task)) for examples in swapped])


def comparable(outputs: Tensor, task: Task) -> Tensor:
    """Return outputs in float64, finite where a class is masked in all rows."""
    return levelled(outputs, task).double()


def swapped_examples(outputs: Tensor, target: Tensor, design: Design, modality: int) -> tuple[Tensor, Tensor]:
    """Return ``(G, g, D, C)`` outputs with one modality from D donors, and their ``(G, g, D, ...)`` targets."""
    swapped = design.swapped(outputs, modality)
    return swapped, target.unsqueeze(2).expand(*target.shape[:2], swapped.shape[2], *target.shape[2:])


def labelled_predictions(outputs: Tensor, target: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return predictions and targets of the labelled examples, one after another.

    Args:
        outputs: ``(..., C)`` logits or values.
        target: ``(..., ...)`` labels, with the leading dimensions of the outputs.
        task: What the outputs stand for.

    Returns:
        ``(n, C)`` or ``(n,)`` predictions and ``(n, ...)`` targets.
    """
    truth = target.flatten(0, outputs.dim() - 2)
    known = labelled(truth, task)
    return predictions(outputs.flatten(0, -2), task)[known], truth[known]


def predictions(outputs: Tensor, task: Task) -> Tensor:
    """Return probabilities for classification, values for regression.

    Metrics that infer from the range whether they received logits infer wrongly on some batches.

    Args:
        outputs: ``(n, C)`` logits or values.
        task: What the outputs stand for.

    Returns:
        ``(n, C)`` for several classes or labels, ``(n,)`` for one output.
    """
    if task == "multiclass":
        return outputs.softmax(-1)
    values = outputs.sigmoid() if task in ("binary", "multilabel") else outputs
    return values.squeeze(-1) if values.shape[-1] == 1 and task != "multilabel" else values
