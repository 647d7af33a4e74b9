"""Predictions and targets in the form that a given score takes."""

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
"""Turns predictions (probabilities or values) and targets into those that a score takes."""


class FittedScore(WrapperMetric):
    """A score that gets predictions and targets in another form, for example class indices instead of probabilities.

    Args:
        score: A torchmetric.
        form: Makes what the score takes of ``(n, C)`` or ``(n,)`` probabilities, or values, and their targets.
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
        """Forget all examples."""
        super().reset()
        self.score.reset()


def fitted(score: Metric, task: Task, answers: Tensor, target: Tensor) -> Metric:
    """Return a copy of a score that takes probabilities or values, and targets.

    The score is tried on the labels as answers: with the targets as they are, then with targets of whole numbers, then
    also with whole predictions, which some scores need: class indices, or labels of 0 and 1. A score that refuses all
    of these gets the first.

    Args:
        score: A torchmetric that the user gave.
        task: What the outputs stand for.
        answers: ``(n, C)`` outputs of a model that knows the labels.
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
    """Tell whether a score is one of torchmetrics' classification: some take floats as class indices without a word."""
    return any(base.__module__.startswith("torchmetrics.classification") for base in type(score).__mro__)


def _takes(score: Metric, predicted: Tensor, target: Tensor) -> bool:
    """Tell whether a score accepts examples."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score.to(predicted.device).update(predicted, target)
            type(score).compute(score)  # some check only here; the class's own compute does not gather
    except Exception:  # whatever a score of the user's own raises
        return False
    return True
