"""Targets: which examples have a label, and which."""

from torch import Tensor

from mviz_lightning.functional.outputs import Task

IGNORED = -100
"""Target of an example without a label: ``ignore_index`` of PyTorch's losses."""

LIKELY = 0.5
"""Smallest graded label that counts as 1 where 0 or 1 is needed."""


def labelled(target: Tensor, task: Task | None = None) -> Tensor:
    """Tell which examples have a label.

    An example with several labels has a label only if none of them is missing, because scores need all.

    Args:
        target: ``(N, ...)`` targets of the batch, or of :func:`decided`.
        task: What the outputs stand for. In a regression -100 is a value; only NaN and infinity mean no label.

    Returns:
        ``(N,)`` bool.
    """
    rows = _rows(target)
    known = rows.isfinite() if task == "regression" else rows.isfinite() & (rows != IGNORED)
    return known.all(1)


def one_each(target: Tensor) -> bool:
    """Tell whether ``(N, C)`` targets name one class each: a single 1 among zeros in every row."""
    rows = _rows(target)
    ones = rows == 1
    return rows.shape[1] > 1 and len(rows) > 0 and bool((ones | (rows == 0)).all() and (ones.sum(1) == 1).all())


def graded(target: Tensor) -> bool:
    """Tell whether some labels lie strictly between 0 and 1, for example shares of annotators."""
    known = _rows(target)[labelled(target)]
    return bool(((known > 0) & (known < 1)).any())


def decided(target: Tensor, task: Task) -> Tensor:
    """Return every example's label in the shape that metrics accept.

    Args:
        target: ``(N, ...)`` targets of the batch.
        task: What the outputs stand for.

    Returns:
        ``(N,)`` long classes (the largest of one-hot rows and distributions); ``(N,)`` or ``(N, C)`` long labels of 0
        and 1 (graded ones are rounded); or unchanged values. :data:`IGNORED` means no label.
    """
    rows = _rows(target)
    if task == "regression":
        return target.reshape(len(target)) if rows.shape[1] == 1 else target
    if task == "multiclass":
        found = rows.double().argmax(1, keepdim=True) if rows.shape[1] > 1 else rows.long()
    else:
        found = (rows >= LIKELY).long()
    found = found.masked_fill(~labelled(target).unsqueeze(1), IGNORED)
    return found if task == "multilabel" else found.squeeze(1)


def _rows(target: Tensor) -> Tensor:
    """Return ``(N, K)``."""
    return target.unsqueeze(-1).flatten(1)
