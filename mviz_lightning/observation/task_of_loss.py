"""The task that a loss or a metric shows."""

import torch
from torch import Tensor

from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import one_each
from mviz_lightning.observation.events import Event
from mviz_lightning.observation.meetings import LOOKUPS

CLASSES = {"cross_entropy", "nll_loss", "multi_margin_loss", "kl_div"}
"""Losses of classes that exclude one another."""

LABELS = {
    *("binary_cross_entropy", "binary_cross_entropy_with_logits"),
    *("multilabel_soft_margin_loss", "multilabel_margin_loss", "soft_margin_loss"),
}
"""Losses of labels that are true or false independently."""

VALUES = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "gaussian_nll_loss", "poisson_nll_loss"}
"""Losses of values."""

METRICS: dict[str, Task] = {"Multiclass": "multiclass", "Binary": "binary", "Multilabel": "multilabel"}
"""Prefix of the names of torchmetrics' classes -> task."""

VALUE_METRICS = ("Error", "R2Score", "Correlation", "ExplainedVariance", "CosineSimilarity")
"""Suffixes of the names of torchmetrics of values."""


def task_of(event: Event, rows: Tensor | None, labels: Tensor | None) -> Task | None:
    """Return what scores stand for; None where the event does not show it.

    Args:
        event: The event that uses the scores.
        rows: ``(R, C)`` or ``(R,)`` observed scores.
        labels: Their targets.
    """
    outputs = 1 if rows is None or rows.dim() == 1 else rows.shape[1]
    if event.kind == "metric":
        return _task_of_metric(event.name)
    if event.kind == "meeting":
        return "multiclass" if event.name in LOOKUPS and outputs > 1 else None
    if event.name in VALUES:
        return "regression"
    if event.name in CLASSES:
        return "multiclass" if outputs > 1 else None
    return _task_of_labels(labels, outputs) if event.name in LABELS else None


def _task_of_labels(labels: Tensor | None, outputs: int) -> Task | None:
    if outputs == 1:
        return "binary"
    if labels is not None and len(labels) == 1:
        return None  # decided once all labels are read; the labels of one example may be one-hot by chance
    return "multiclass" if labels is not None and one_each(labels) else "multilabel"


def _task_of_metric(name: str) -> Task | None:
    told = [task for begin, task in METRICS.items() if name.startswith(begin)]
    return told[0] if told else "regression" if name.endswith(VALUE_METRICS) else None


def is_numbering(labels: Tensor) -> bool:
    """Return whether targets are the indices of the examples: 0, 1, 2, ..."""
    return (
        labels.dim() == 1 and torch.equal(labels.cpu(), torch.arange(len(labels)).to(labels.dtype)) and len(labels) > 1
    )
