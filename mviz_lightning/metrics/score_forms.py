"""Convert predictions and targets to the form that a score accepts."""

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import decided

Form: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Converts predictions (probabilities or values) and targets to the form that a score accepts."""


class FittedScore(WrapperMetric):
    """A score whose predictions and targets are converted first, for example from probabilities to class indices.

    Args:
        score: A torchmetric.
        form: Converts ``(n, C)`` or ``(n,)`` probabilities or values, and their targets, to the form that the score
            accepts.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, score: Metric, form: Form, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score, self.form = score, form

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add examples."""
        self.score.update(*self.form(preds, target))

    def compute(self) -> Any:
        """Return the score."""
        return self.score.compute()

    def reset(self) -> None:
        """Remove all examples."""
        super().reset()
        self.score.reset()


def fitted(score: Metric, task: Task, answers: Tensor, target: Tensor) -> Metric:
    """Return a copy of a score that accepts probabilities or values, and targets.

    The score is tried on the labels as answers, in this order: with the unchanged targets, with whole-number targets,
    with whole predictions (class indices, or labels of 0 and 1), and with both. The first form without an error is
    used. If all raise, the score gets unchanged predictions and targets.

    Args:
        score: A torchmetric that the user gave.
        task: Type of the prediction task.
        answers: ``(n, C)`` outputs of a perfect model, made from the labels.
        target: ``(n, ...)`` known labels in standard form.
    """
    if task == "regression" or not len(target):
        return score.clone()
    predicted = answers.squeeze(-1) if task == "binary" else answers
    soft = target.is_floating_point()
    forms = _forms(task)[1 if soft and _wants_hard_labels(score) else 0 :]
    works = (form for form in forms if _takes(score.clone(), *form(predicted, target)))
    form = next(works, _as_given)
    return score.clone() if form is _as_given else FittedScore(score.clone(), form)


def _as_given(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return predicted, target


def _forms(task: Task) -> list[Form]:
    def whole(target: Tensor) -> Tensor:
        return decided(target, task)

    def chosen(predicted: Tensor) -> Tensor:
        return predicted.argmax(1) if task == "multiclass" else (predicted > 0.5).long()

    return [
        _as_given,
        lambda predicted, target: (predicted, whole(target)),
        lambda predicted, target: (chosen(predicted), target),
        lambda predicted, target: (chosen(predicted), whole(target)),
    ]


def _wants_hard_labels(score: Metric) -> bool:
    """Return whether a score is a torchmetrics classification metric: some accept floats as class indices silently."""
    return any(base.__module__.startswith("torchmetrics.classification") for base in type(score).__mro__)


def _takes(score: Metric, predicted: Tensor, target: Tensor) -> bool:
    """Return whether a score accepts these examples."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score.to(predicted.device).update(predicted, target)
            type(score).compute(score)  # some scores check only here; the class's own compute does not gather
    except Exception:  # a user's score may raise anything
        return False
    return True
