"""Scores of recombined examples: the loss in accuracy when modalities are swapped."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.outputs import Task, levelled
from mviz_lightning.functional.probabilities import class_probabilities, label_probabilities
from mviz_lightning.functional.targets import labelled

FEW = 32
"""Mean number of true labels per example up to which comparing each with all outputs is faster than sorting."""

COMPARED = 2**20
"""Largest number of values that are compared at once: 2^20, 8 MiB of float64."""

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A score of predictions and targets, such as ``torchmetrics.functional.classification.binary_accuracy``."""


def perceptual_score(outputs: Tensor, target: Tensor, design: Design, *, task: Task, score: Score) -> Tensor:
    """Return how much the score falls when one modality is taken from other examples (Gat et al. 2021).

    ``score(f(x)) - mean over donors j of score(f(x with modality m of j))``, not divided by the score of the model.
    Donors of an example are the other examples of its group.

    Args:
        outputs: ``(G, T, C)`` logits or values of the design's T tuples in G groups.
        target: ``(G, g, ...)`` labels. -100, or NaN in a regression, means no label; such examples do not count.
        design: The tuples.
        task: Type of the prediction task.
        score: Function of ``(n, C)`` or ``(n,)`` predictions (probabilities, or values) and their targets.

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


def graded_accuracy(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the target's value at the highest prediction of every example: VQA's accuracy (Antol et al. 2015).

    Each VQA question has the answers of several people, so targets lie between 0 and 1. With a single output, the value
    is the target if the prediction is above 0.5, and 1 less the target otherwise.

    Args:
        predicted: ``(n, C)`` or ``(n,)`` predictions; only the highest of each row counts.
        target: Soft labels of the same shape.

    Returns:
        ``(n,)`` float64. Their mean is :class:`~mviz_lightning.metrics.GradedAccuracy`.
    """
    if predicted.dim() == 1:
        return torch.where(predicted > 0.5, target.double(), 1 - target.double())
    return target.double().gather(1, predicted.argmax(1, keepdim=True)).squeeze(1)


def label_ranking_average_precision(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the label-ranking average precision of every example (Tsoumakas et al. 2010).

    The mean, over the true labels j, of the number of true labels that are predicted at least as high as j, divided by
    the number of all labels that are predicted at least as high. It is 1 if all true labels rank above all others, or
    if there are no true labels. Ties count as ranked above.

    Args:
        predicted: ``(n, C)`` predictions.
        target: ``(n, C)`` labels of 0 and 1.

    Returns:
        ``(n,)`` float64. Their mean is :class:`~mviz_lightning.metrics.LabelRankingAveragePrecision`.

    Example:
        >>> import torch
        >>> label_ranking_average_precision(torch.tensor([[0.1, 0.9, 0.5]]), torch.tensor([[1, 1, 0]]))
        tensor([0.8333], dtype=torch.float64)
    """
    rows, labels = (target > 0).nonzero(as_tuple=True)
    counts = rows.bincount(minlength=len(target))
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    most = int(counts.max()) if len(counts) else 0
    true = predicted.new_full((len(target), most), -torch.inf).index_put((rows, place), predicted[rows, labels])
    precision = _at_least(true, true, rows, place) / _at_least(predicted, true, rows, place)
    found = precision.new_zeros(len(target)).index_add(0, rows, precision) / counts
    return found.where(counts > 0, 1.0)


def _at_least(values: Tensor, levels: Tensor, rows: Tensor, place: Tensor) -> Tensor:
    """Return ``(P,)`` float64: how many values of a row are as high as one of its levels, or higher.

    Args:
        values: ``(n, C)``.
        levels: ``(n, K)``.
        rows: ``(P,)`` rows.
        place: ``(P,)`` the level in each of these rows.
    """
    if len(rows) > FEW * len(values):
        lower = torch.searchsorted(values.sort(1).values, levels)
        return (values.shape[1] - lower[rows, place]).double()
    size = max(1, COMPARED // max(1, values.shape[1]))
    parts = zip(torch.split(rows, size), torch.split(levels[rows, place], size), strict=True)
    return torch.cat([(values[row] >= level.unsqueeze(1)).sum(1) for row, level in parts]).double()


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
        task: Type of the prediction task.

    Returns:
        ``(n, C)`` or ``(n,)`` predictions and ``(n, ...)`` targets.
    """
    truth = target.flatten(0, outputs.dim() - 2)
    known, found = labelled(truth, task), predictions(outputs.flatten(0, -2), task)
    return (found, truth) if bool(known.all()) else (found[known], truth[known])


def predictions(outputs: Tensor, task: Task) -> Tensor:
    """Return probabilities for classification, values for regression.

    Metrics that infer from the value range whether they received logits are wrong on some batches.

    Args:
        outputs: ``(n, C)`` logits or values.
        task: Type of the prediction task.

    Returns:
        ``(n, C)`` for several classes or labels, ``(n,)`` for one output.
    """
    if task == "multiclass":
        return class_probabilities(outputs)
    values = label_probabilities(outputs) if task in ("binary", "multilabel") else outputs
    return values.squeeze(-1) if values.shape[-1] == 1 and task != "multilabel" else values
