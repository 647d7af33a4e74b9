"""What failed where a decision is wrong: unimodal contributions (UC), or the interaction (MI) that is added to them."""

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import Task, decisions

DECIDED = ("right", "rescued", "spoiled", "unrepaired", "misled")
"""Categories of decisions; a decision is in one of them."""

VALUED = ("unchanged", "lowered", "raised")
"""Categories of values: what the interaction did to the absolute error."""

GAINED, FAILED = 1, 2
"""Places in both: what the interaction made right, and from where on something failed."""

NOTICEABLE = 0.1
"""What the interaction has to change, in parts of the error of UC: less of it neither misleads nor helps."""


def failure_category_names(task: Task) -> tuple[str, ...]:
    """Return the categories of a task, disjoint and complete."""
    return VALUED if task == "regression" else DECIDED


def decision_margins(outputs: Tensor, truth: Tensor, task: Task) -> Tensor:
    """Return ``(N, K)``: how far outputs ``(N, C)`` are on the side of the truth; of values, minus the error.

    Args:
        outputs: ``(N, C)`` of at least two classes, of labels, or values.
        truth: ``(N, K)`` long class (K is 1) or labels (K is C); or values (K is C).
        task: What the outputs stand for.
    """
    if task == "multiclass":
        others = outputs.scatter(1, truth, -torch.inf).amax(1, keepdim=True)
        return outputs.gather(1, truth) - others
    return -(outputs - truth).abs() if task == "regression" else outputs * (2 * truth - 1)


def failure_categories(value: Tensor, unimodal: Tensor, truth: Tensor, task: Task, floor: float = 0.0) -> Tensor:
    """Return ``(N, K)`` long: the category of every decision, into the names of :func:`failure_category_names`.

    Args:
        value: ``(N, C)`` outputs.
        unimodal: ``(N, C)`` their unimodal contributions.
        truth: ``(N, K)`` as for :func:`decision_margins`.
        task: What the outputs stand for.
        floor: What the interaction changes no more than by rounding.
    """
    before = decision_margins(unimodal, truth, task)
    gain, least = decision_margins(value, truth, task) - before, (NOTICEABLE * before.abs()).clamp(min=floor)
    if task == "regression":
        return torch.where(gain > least, GAINED, 0) + torch.where(gain < -least, FAILED, 0)
    right, alone = _right(value, truth, task), _right(unimodal, truth, task)
    both_wrong = torch.where(gain < -least, DECIDED.index("misled"), DECIDED.index("unrepaired"))
    wrong = torch.where(alone, DECIDED.index("spoiled"), both_wrong)
    return torch.where(right, torch.where(alone, DECIDED.index("right"), GAINED), wrong)


def _right(outputs: Tensor, truth: Tensor, task: Task) -> Tensor:
    decided = decisions(outputs, task)
    return (decided.gather(1, truth) > 0) if task == "multiclass" else (decided == truth)
