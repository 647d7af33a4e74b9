"""What a model's outputs stand for."""

from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task


def resolve_task(task: Task | None, outputs: int, target: Tensor | None) -> Task:
    """Guess the task from the outputs and the labels where it is not given, and check that they agree.

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
        _require_fit(resolved, outputs, target)
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
    values = target[:1].numel()
    if outputs > 1 and values == 1 and not target.is_floating_point():
        return "multiclass"
    if not bool(((target == 0) | (target == 1)).all()):
        return "regression"
    return "binary" if outputs == 1 else "multilabel"


def _require_fit(task: Task, outputs: int, target: Tensor) -> None:
    values = target[:1].numel()
    shape = f"{tuple(target.shape[1:])}" if target.dim() > 1 else "one value"
    expected = 1 if task in ("multiclass", "binary") else outputs
    if values != expected:
        raise ConfigurationError(
            f"task={task!r} with {outputs} outputs needs targets of {expected} value(s) an example; they have {shape}. "
            "Say task= if it was guessed wrong, or target= with the path of the right leaf."
        )
    if task == "multiclass" and target.is_floating_point():
        raise ConfigurationError(
            f'task="multiclass" needs class indices as target; they are {target.dtype}. Say task= or another target=.'
        )
    limit = outputs - 1 if task == "multiclass" else 1
    if task != "regression" and bool(((target < 0) | (target > limit)).any()):
        found = f"{target.min().item():g} to {target.max().item():g}"
        raise ConfigurationError(
            f"task={task!r} with {outputs} outputs needs targets from 0 to {limit}; found are {found}. "
            "Leave unlabelled examples out of validation, or say task= or another target=."
        )
