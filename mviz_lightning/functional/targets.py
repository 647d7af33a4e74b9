"""What targets say: which examples are labelled, and with what."""

from torch import Tensor

from mviz_lightning.functional.outputs import Task

IGNORED = -100
"""What stands where there is no label, as PyTorch's losses have it (``ignore_index``)."""

LIKELY = 0.5
"""Graded label from which on it counts as one where a yes or no is needed."""


def labelled(target: Tensor, task: Task | None = None) -> Tensor:
    """Tell which examples have a label.

    An example of several labels of which one is missing has none: no score could be taken of it.

    Args:
        target: ``(N, ...)`` as it came, or as of :func:`decided`.
        task: What the outputs stand for; of values -100 is one like any other, and only NaN and infinity are none.

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
    """Tell whether some labels lie between 0 and 1, as where several people were asked."""
    known = _rows(target)[labelled(target)]
    return bool(((known > 0) & (known < 1)).any())


def decided(target: Tensor, task: Task) -> Tensor:
    """Return every example's label in the shape that metrics take.

    Args:
        target: ``(N, ...)`` as it came.
        task: What the outputs stand for.

    Returns:
        ``(N,)`` long classes, of one-hot rows and of distributions the largest; ``(N,)`` or ``(N, C)`` long labels of
        0 and 1, graded ones rounded; or values as they are. :data:`IGNORED` where there is none.
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
