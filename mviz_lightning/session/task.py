"""What a model's outputs stand for."""

import math

from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import graded, labelled, one_each

WHOLE = 1e-2
"""By how much shares of one class each may miss 1: half precision, and labels written with two digits."""


def resolve_task(task: Task | None, outputs: int, target: Tensor | None) -> Task:
    """Guess the task from the outputs and the labels where it is not given, and check that they agree.

    Several outputs with targets of their shape are classes where every row is one-hot, labels where all lie between
    0 and 1, graded ones too (VQA's shares of people who agree), and values otherwise. What is marked with -100 is no
    label. Say ``task="multiclass"`` for smoothed or mixed one-hot rows, whose largest is then the class.

    Args:
        task: As the user gave it.
        outputs: Scores an example, C.
        target: ``(N, ...)`` labels, if known.

    Raises:
        ConfigurationError: It cannot be guessed, or the labels do not fit it.
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
    """Say in words what a task was guessed from."""
    count = f"{outputs} outputs" if outputs > 1 else "one output"
    return f"task={task!r} is guessed from {count} and {_kind(target, task)}; if that is wrong, say task="


def _kind(target: Tensor | None, task: Task) -> str:
    """Say in words what labels are."""
    if target is None:
        return "no labels"
    known = target[labelled(target, task)]
    missing = len(target) - len(known)
    unlabelled = f" ({missing} of {len(target)} examples have none and leave the scores)" if missing else ""
    if task == "multiclass":
        return ("class indices" if math.prod(target.shape[1:]) == 1 else "one-hot targets") + unlabelled
    if task == "regression":
        return "values as targets" + unlabelled
    return ("targets between 0 and 1" if graded(known) else "targets of 0 and 1") + unlabelled


def _require_fit(task: Task, outputs: int, target: Tensor) -> None:
    """Check the labels of all examples that have one."""
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
            "Leave unlabelled examples out of validation or mark them with -100, or say task= or another target=."
        )


def _distributions(target: Tensor) -> bool:
    """Tell whether rows are shares of one whole: one-hot, smoothed or mixed labels of classes."""
    rows = target.flatten(1).double()
    return bool(((rows >= 0) & (rows <= 1)).all() and ((rows.sum(1) - 1).abs() < WHOLE).all())
