"""The task: whether outputs are classes, labels or values; guessed from the labels where the user does not say."""

import math

from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import graded, labelled, one_each

WHOLE = 1e-2
"""Largest deviation from 1 of the sum of soft labels: half precision, or labels written with two digits."""


def resolve_task(task: Task | None, outputs: int, target: Tensor | None) -> Task:
    """Return the task; guess it from the outputs and the labels where it is not given, and check that they agree.

    Several outputs with targets of the same shape are classes if every row is one-hot, labels if all targets lie
    between 0 and 1 (graded ones too, such as VQA's share of people who agree), and values otherwise. A target of -100
    is no label. Smoothed or mixed one-hot rows need ``task="multiclass"``; their largest entry is the class.

    Args:
        task: Task that the user gave; None to guess it.
        outputs: Number of outputs of one example, C.
        target: ``(N, ...)`` labels; None without labels.

    Raises:
        ConfigurationError: The task cannot be guessed, or the labels do not fit it.
    """
    resolved: Task = task or _guess(outputs, target)
    if (resolved == "binary" and outputs > 1) or (resolved in ("multiclass", "multilabel") and outputs < 2):
        needs = "one output, a logit" if resolved == "binary" else "several outputs"
        raise ConfigurationError(f"task={resolved!r} with {outputs} output(s): it needs {needs}. Say another task=.")
    if target is not None:
        _require_fit(resolved, outputs, target[labelled(target, resolved)])
    return resolved


def _guess(outputs: int, target: Tensor | None) -> Task:
    if target is None:
        if outputs > 1:
            raise ConfigurationError(
                f"the model has {outputs} outputs, and neither task= nor target= tells what they stand for: classes "
                'that exclude one another (task="multiclass") are decomposed unlike labels (task="multilabel") or '
                'values (task="regression"). Say task=, or target= with the path of the labels.'
            )
        return "regression"
    values, known = target[:1].numel(), target[labelled(target)]
    if outputs > 1 and (one_each(known) if values == outputs else values == 1 and not target.is_floating_point()):
        return "multiclass"
    if outputs == 1:
        return "binary" if bool(((known == 0) | (known == 1)).all()) else "regression"
    return "multilabel" if bool(((known >= 0) & (known <= 1)).all()) else "regression"


def told(task: Task, outputs: int, target: Tensor | None) -> str:
    """Return in words what a task was guessed from."""
    count = f"{outputs} outputs" if outputs > 1 else "one output"
    return f"task={task!r} is guessed from {count} and {_kind(target, task)}; if that is wrong, pass task="


def _kind(target: Tensor | None, task: Task) -> str:
    """Return in words what the labels are."""
    if target is None:
        return "no labels"
    known = target[labelled(target, task)]
    missing = len(target) - len(known)
    unlabelled = (
        f" ({missing} of {len(target)} examples lack a label and are left out of the scores)" if missing else ""
    )
    if task == "multiclass":
        return ("class indices" if math.prod(target.shape[1:]) == 1 else "one-hot targets") + unlabelled
    if task == "regression":
        return "values as targets" + unlabelled
    return ("targets between 0 and 1" if graded(known) else "targets of 0 and 1") + unlabelled


def _require_fit(task: Task, outputs: int, target: Tensor) -> None:
    """Raise a ConfigurationError where the labels, of all examples that have one, do not fit the task."""
    values = math.prod(target.shape[1:])
    shape = f"{tuple(target.shape[1:])}" if target.dim() > 1 else "one value"
    expected = 1 if task in ("multiclass", "binary") else outputs
    spread = task == "multiclass" and values == outputs and _distributions(target)
    if values != expected and not spread:
        raise ConfigurationError(
            f"task={task!r} with {outputs} outputs needs targets of {expected} value(s) an example; they have {shape}. "
            "Say task= if it was guessed wrong, or target= with the path of the right leaf."
        )
    if task == "multiclass" and target.is_floating_point() and not spread:
        raise ConfigurationError(
            f'task="multiclass" needs class indices as target; they are {target.dtype}. Say task= or another target=.'
        )
    limit = outputs - 1 if task == "multiclass" and not spread else 1
    if task != "regression" and bool(((target < 0) | (target > limit)).any()):
        found = f"{target.min().item():g} to {target.max().item():g}"
        raise ConfigurationError(
            f"task={task!r} with {outputs} outputs needs targets from 0 to {limit}; found are {found}. "
            "Leave unlabelled examples out of validation or mark them with -100, or pass task= or another target=."
        )


def _distributions(target: Tensor) -> bool:
    """Return whether every row sums to 1: one-hot, smoothed or mixed labels of classes."""
    rows = target.flatten(1).double()
    return bool(((rows >= 0) & (rows <= 1)).all() and ((rows.sum(1) - 1).abs() < WHOLE).all())
