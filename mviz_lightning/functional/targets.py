"""Targets: which examples have a label, and their labels in a standard form."""

from torch import Tensor

from mviz_lightning.functional.outputs import Task

IGNORED = -100
"""Target of an example without a label: the default ``ignore_index`` of PyTorch's losses."""

LIKELY = 0.5
"""Smallest soft label that is rounded to 1 where hard labels are needed."""

WHOLE = 1e-2
"""Largest deviation from 1 of a sum of soft labels; allows half precision and labels with two digits."""

ROUNDED = 1e-3
"""Largest distance of soft labels from 0..1 that counts as rounding of half precision."""


def without_ignored(target: Tensor, ignored: int) -> Tensor:
    """Return targets with -100 in place of another number that means no label; whole numbers get a signed type."""
    if ignored == IGNORED:
        return target
    signed = target if target.is_floating_point() else target.long()  # uint8 has no -100
    return signed.where(signed != ignored, IGNORED)


def labelled(target: Tensor, task: Task | None = None) -> Tensor:
    """Return which examples have a label.

    An example with several labels has a label only if none of them is missing, because scores need all.

    Args:
        target: ``(N, ...)`` targets of the batch, or of :func:`decided`.
        task: Type of the prediction task. In a regression -100 is a value; only NaN and infinity mean no label.

    Returns:
        ``(N,)`` bool.
    """
    rows = rows_of(target)
    known = rows.isfinite() if task == "regression" else rows.isfinite() & (rows != IGNORED)
    return known.all(1)


def one_each(target: Tensor) -> bool:
    """Return whether ``(N, C)`` targets are one-hot rows, with or without label smoothing."""
    rows = rows_of(target).double()
    if rows.shape[1] < 2 or not distributions(rows):
        return False
    ascending = rows.sort(1).values
    high, low = ascending[:, -1].aminmax(), ascending[:, :-1].aminmax()
    spread = max(float(high.max - high.min), float(low.max - low.min))
    return spread <= ROUNDED and float(high.min - low.max) > ROUNDED


def distributions(target: Tensor) -> bool:
    """Return whether rows of ``(N, C)`` targets sum to 1 (one-hot, smoothed or soft labels); False if empty."""
    rows = rows_of(target).double()
    return len(rows) > 0 and within_unit(rows) and bool(((rows.sum(1) - 1).abs() < WHOLE).all())


def within_unit(target: Tensor) -> bool:
    """Return whether all targets lie in 0..1, up to rounding."""
    return bool(((target >= -ROUNDED) & (target <= 1 + ROUNDED)).all())


def whole(target: Tensor) -> bool:
    """Return whether all targets are whole numbers."""
    return not target.is_floating_point() or bool((target == target.round()).all())


def graded(target: Tensor, task: Task = "multilabel") -> bool:
    """Return whether labels are soft, for example shares of annotators.

    Args:
        target: ``(N, ...)`` targets in the form of :func:`standard_form`.
        task: Type of the prediction task. Soft labels of classes are rows with several entries.
    """
    rows = rows_of(target)
    known = rows[labelled(target)]
    if task == "multiclass":
        return rows.shape[1] > 1 and len(known) > 0 and not one_each(known)
    return task != "regression" and bool(((known > 0) & (known < 1)).any())


def standard_form(target: Tensor, task: Task, outputs: int) -> Tensor:
    """Return labels in the one form that all of the package reads.

    Class indices may be whole floats. They may count from 1 to C instead of 0 to C - 1, which is certain if C occurs
    and neither 0 nor a larger number does. One-hot and smoothed rows become class indices. Labels may be bool, or -1
    and 1 (hinge losses). Targets of any other form are returned unchanged.

    Args:
        target: ``(N, ...)`` targets of the batch. :data:`IGNORED` or NaN means no label.
        task: Type of the prediction task.
        outputs: Number of outputs of one example, C.

    Returns:
        ``(N,)`` long classes, or ``(N, C)`` float64 soft labels of classes; ``(N,)`` or ``(N, C)`` labels, long or,
        where they are soft, float64 in 0..1; or unchanged values.
    """
    rows, known = rows_of(target), labelled(target)
    if task == "regression" or not bool(known.any()):
        return target
    if task == "multiclass":
        return _from_zero(_classes(rows, known, target), outputs) if rows.shape[1] in (1, outputs) else target
    return _labels(rows, known).view(target.shape) if rows.shape[1] == outputs else target


def _classes(rows: Tensor, known: Tensor, target: Tensor) -> Tensor:
    if rows.shape[1] > 1:
        soft = rows.double().masked_fill(~known.unsqueeze(1), IGNORED)
        return soft.argmax(1).masked_fill(~known, IGNORED) if one_each(rows[known]) else soft
    return rows[:, 0].nan_to_num(IGNORED).long().masked_fill(~known, IGNORED) if whole(rows[known]) else target


def _from_zero(classes: Tensor, outputs: int) -> Tensor:
    """Return class indices less 1 if they certainly count from 1."""
    return (classes - 1).where(classes != IGNORED, IGNORED) if count_from_one(classes, outputs) else classes


def count_from_one(classes: Tensor, outputs: int) -> bool:
    """Return whether the known class indices are 1 to C: C occurs, and neither 0 nor a number above C."""
    known = rows_of(classes)[labelled(classes)]
    single = known.shape[1] == 1 and len(known) > 0 and whole(known)
    return single and bool((known.min() >= 1) & (known.max() == outputs))


def _labels(rows: Tensor, known: Tensor) -> Tensor:
    found = rows[known]
    signs = bool((found == -1).any()) and bool((found.abs() == 1).all())
    values = (found.double() + 1) / 2 if signs else found.double()
    values = values.clamp(0, 1) if within_unit(values) else values
    form = values if bool(((values > 0) & (values < 1)).any()) or not whole(values) else values.long()
    return form.new_full(rows.shape, IGNORED).masked_scatter(known.unsqueeze(1), form)


def decided(target: Tensor, task: Task) -> Tensor:
    """Return every example's label in the shape that metrics accept.

    Args:
        target: ``(N, ...)`` targets of the batch.
        task: Type of the prediction task.

    Returns:
        ``(N,)`` long classes (the largest of one-hot rows and soft labels); ``(N,)`` or ``(N, C)`` long labels of 0 and
        1 (soft ones are rounded); or unchanged values. :data:`IGNORED` means no label.
    """
    rows, known = rows_of(target), labelled(target)
    if task == "regression":
        return target.reshape(len(target)) if rows.shape[1] == 1 else target
    if task == "multiclass":
        several = rows.shape[1] > 1
        found = rows.double().argmax(1, keepdim=True) if several else rows.nan_to_num(IGNORED).long()
        known = known & (rows > 0).any(1) if several else known  # zeros: no answer among the classes
    else:
        found = (rows >= LIKELY).long()
    found = found.masked_fill(~known.unsqueeze(1), IGNORED)
    return found if task == "multilabel" else found.squeeze(1)


def rows_of(target: Tensor) -> Tensor:
    """Return ``(N, K)``: the K numbers of every example's target."""
    return target.unsqueeze(-1).flatten(1)
