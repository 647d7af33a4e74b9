"""The task: whether outputs are classes, labels or values; guessed from the labels if the user does not give it."""

import math

from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import (
    count_from_one,
    distributions,
    graded,
    labelled,
    one_each,
    standard_form,
    whole,
    within_unit,
)

SCORES = {
    "ranking": "label-ranking average precision: how far up the true labels rank, a mean over examples",
    "graded": "the target's value at the highest output, a mean over examples (VQA accuracy)",
    "sides": "the target's value on the side of 0.5 that the output chooses, a mean over examples",
}
"""Descriptions of the default scores other than accuracy of hard labels."""


def resolve_task(task: Task | None, outputs: int, target: Tensor | None) -> Task:
    """Return the task; if it is not given, guess it from the outputs and the labels; check that all agree.

    Several outputs with targets of the same shape are guessed as follows:

    - classes if every row sums to 1: one-hot, smoothed or soft labels of ``cross_entropy``;
    - labels if all targets lie between 0 and 1, soft ones too, such as VQA's share of people who agree;
    - values otherwise.

    One whole number per example is a class. A target of -100 is no label. With ``task="multiclass"`` soft labels may
    sum to anything.

    Args:
        task: Task that the user gave, or that the observed loss shows; None to guess it.
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
        found = standard_form(target, resolved, outputs)
        _require_fit(resolved, outputs, found[labelled(found, resolved)])
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
    if outputs > 1 and (distributions(known) if values == outputs else values == 1 and whole(known)):
        return "multiclass"
    if outputs == 1:
        return "binary" if bool(((known == 0) | (known == 1)).all()) else "regression"
    return "multilabel" if within_unit(known) else "regression"


def told(task: Task, outputs: int, target: Tensor | None) -> str:
    """Return a text on what a task was guessed from."""
    count = f"{outputs} outputs" if outputs > 1 else "one output"
    return f"task={task!r} is guessed from {count} and {_kind(target, task)}; if that is wrong, pass task="


def changes(task: Task, outputs: int, target: Tensor | None) -> str:
    """Return a text on how labels are read, if they are not read as they are in the batch; ``""`` otherwise."""
    if target is None or task == "regression":
        return ""
    known = target[labelled(target)]
    if task == "multiclass":
        from_one = count_from_one(target, outputs)
        return f"the labels 1 to {outputs} are read as classes 0 to {outputs - 1}" if from_one else ""
    return "the labels -1 and 1 are read as 0 and 1" if len(known) and bool((known == -1).any()) else ""


def default_scoring(task: Task, target: Tensor | None) -> str:
    """Return a text on the default score of labels in standard form; ``""`` for accuracy of hard classes and for R2."""
    if target is None or task == "regression" or not bool(labelled(target).any()):
        return ""
    if graded(target, task):
        return SCORES["sides" if task == "binary" else "graded"]
    return SCORES["ranking"] if task == "multilabel" else ""


def _kind(target: Tensor | None, task: Task) -> str:
    """Return a description of the labels."""
    if target is None:
        return "no labels"
    known = target[labelled(target, task)]
    missing = len(target) - len(known)
    unlabelled = (
        f" ({missing} of {len(target)} examples lack a label and are left out of the scores)" if missing else ""
    )
    if task == "multiclass":
        one = math.prod(target.shape[1:]) == 1
        return ("class indices" if one else "one-hot targets" if one_each(known) else "soft labels") + unlabelled
    if task == "regression":
        return "values as targets" + unlabelled
    return ("targets between 0 and 1" if graded(known) else "targets of 0 and 1") + unlabelled


def _require_fit(task: Task, outputs: int, target: Tensor) -> None:
    """Raise a ConfigurationError if the labels, of all examples that have one, do not fit the task."""
    values = math.prod(target.shape[1:])
    shape = f"{tuple(target.shape[1:])}" if target.dim() > 1 else "one value"
    expected = 1 if task in ("multiclass", "binary") else outputs
    soft = task == "multiclass" and values == outputs
    if values != expected and not soft:
        raise ConfigurationError(
            f"task={task!r} with {outputs} outputs needs targets of {expected} value(s) an example; they have {shape}. "
            "Say task= if it was guessed wrong, or target= with the path of the right leaf."
        )
    if task == "multiclass" and not soft and not whole(target):
        raise ConfigurationError(
            f'task="multiclass" needs class indices as target; they are {target.dtype}. Say task= or another target=.'
        )
    limit = outputs - 1 if task == "multiclass" else 1
    if task != "regression" and bool(((target < 0) | ((target > limit) & (not soft))).any()):
        found = f"{target.min().item():g} to {target.max().item():g}"
        raise ConfigurationError(
            f"task={task!r} with {outputs} outputs needs targets from 0 {'up' if soft else f'to {limit}'}; found are "
            f"{found}. Leave unlabelled examples out of validation or mark them with -100, or pass task= or another "
            "target=."
        )
