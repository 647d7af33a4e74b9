"""Which part of a wrong prediction is wrong: the unimodal contributions (UC) or the multimodal interaction (MI)."""

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import Task, decisions

DECIDED = ("right", "rescued", "spoiled", "unrepaired", "misled")
"""Categories of decisions; every decision is in exactly one."""

VALUED = ("unchanged", "lowered", "raised")
"""Categories of regression values: what MI does to the absolute error."""

GAINED, FAILED = 1, 2
"""Positions in both tuples: the category that MI improves, and the first category with an error."""

NOTICEABLE = 0.1
"""Smallest change by MI that counts, as a fraction of the margin of UC; a change of 10 % is visible in the figures."""


def failure_category_names(task: Task) -> tuple[str, ...]:
    """Return the names of the categories of a task; :func:`failure_categories` has their definitions."""
    return VALUED if task == "regression" else DECIDED


def decision_margins(outputs: Tensor, truth: Tensor, task: Task) -> Tensor:
    """Return the margin by which outputs favour the true target.

    Multiclass: the true class's logit less the largest other logit. Labels: the logit, negated where the label is 0.
    Regression: minus the absolute error.

    Args:
        outputs: ``(N, C)`` logits of two or more classes, logits of labels, or values.
        truth: ``(N, K)``: the class (long, K = 1), labels of 0 and 1 (K = C), or values (K = C).
        task: Type of the prediction task.

    Returns:
        ``(N, K)``; positive means a right decision.
    """
    if task == "multiclass":
        others = outputs.scatter(1, truth, -torch.inf).amax(1, keepdim=True)
        return outputs.gather(1, truth) - others
    return -(outputs - truth).abs() if task == "regression" else outputs * (2 * truth - 1)


def failure_categories(value: Tensor, unimodal: Tensor, truth: Tensor, task: Task, floor: float = 0.0) -> Tensor:
    """Return the category of every decision, from the outputs f and their unimodal contributions UC (f = UC + MI).

    Uses UC and MI of DIME (Lyu et al. 2022, eq. 2-8) for the error analysis of MultiViz (Liang et al. 2023).
    ``right``: f and UC are right. ``rescued``: f is right, UC is wrong. ``spoiled``: f is wrong, UC is right. Both
    wrong: ``misled`` if MI lowers the margin, else ``unrepaired``. Regression: MI leaves the absolute error
    ``unchanged``, or it is ``lowered`` or ``raised``.

    Args:
        value: ``(N, C)`` outputs f.
        unimodal: ``(N, C)`` unimodal contributions UC.
        truth: ``(N, K)`` as in :func:`decision_margins`.
        task: Type of the prediction task.
        floor: Changes of the margin up to this are rounding.

    Returns:
        ``(N, K)`` long, positions in :func:`failure_category_names`.
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
