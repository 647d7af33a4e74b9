"""The model's skill on all fixed examples, with its standard error; it shows whether the model has begun to learn."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from mviz_lightning.collapse.score_reference import anchors, scored
from mviz_lightning.functional import Task
from mviz_lightning.metrics.example_scores import ExampleMean
from mviz_lightning.metrics.score_forms import FittedScore

PARTS = 16
"""Number of parts of the examples; the jackknife leaves out one part at a time."""


@dataclass(frozen=True)
class Skill:
    """A score on the scale from chance (0) to perfection (1).

    Attributes:
        value: The skill.
        error: Its standard error; infinite if the score is not a number on parts of the examples.
    """

    value: float
    error: float

    @property
    def evidence(self) -> dict[str, float]:
        """The stored values of a run: finite numbers by name."""
        named = {"skill": self.value, "skill_error": self.error}
        return {name: number for name, number in named.items() if math.isfinite(number)}


def measured_skill(
    score: Metric, task: Task, predicted: Tensor, target: Tensor, outputs: int, examples: Tensor | None = None
) -> Skill | None:
    """Return the skill of predictions; None if chance and perfection have the same score or none.

    Args:
        score: A torchmetric of predictions and targets; larger may be better or worse.
        task: Type of the prediction task.
        predicted: ``(n, C)`` or ``(n,)`` predictions (probabilities or values) of labelled examples.
        target: ``(n, ...)`` their labels in the shape that metrics take.
        outputs: Number of outputs of one example, C.
        examples: ``(n,)`` long: the example of each prediction, for predictions of positions; None for examples.
    """
    with warnings.catch_warnings():  # parts of the examples may lack a class
        warnings.simplefilter("ignore")
        reference = anchors(score, task, target, outputs)
        value = scored(score, predicted, target, task)
        skill = None if value is None else reference.skill(value)
        if value is None or skill is None or reference.chance is None or reference.perfect is None:
            return None
        error = standard_error(score, value, predicted, target, task, examples)
    return Skill(skill, error / abs(reference.perfect - reference.chance))


def standard_error(
    score: Metric, value: float, predicted: Tensor, target: Tensor, task: Task, examples: Tensor | None = None
) -> float:
    """Return the standard error of a score of n examples.

    Accuracies: ``sqrt(s (1 - s) / n)``. Means of one value per example: the values' standard deviation divided by
    ``sqrt(n)``. All other scores (R2, AUROC, a user's metric), and scores of positions (which are not independent
    within an example): the jackknife over 16 random parts of the examples, ``sqrt((G - 1) / G * sum_j (s_(j) -
    mean)^2)``. It is infinite if the score is not a number on a part.
    """
    if examples is not None:
        found, of = torch.unique(examples, return_inverse=True)
        return _jackknifed(lambda kept: scored(score, predicted[kept[of]], target[kept[of]], task), len(found))
    inner = score.score if isinstance(score, FittedScore) else score
    if isinstance(inner, BinaryAccuracy) or (isinstance(inner, MulticlassAccuracy) and inner.average == "micro"):
        return math.sqrt(max(0.0, value * (1 - value)) / len(target))
    if isinstance(inner, ExampleMean):
        given = score.form(predicted, target) if isinstance(score, FittedScore) else (predicted, target)
        return float(inner.values(*given).std() / math.sqrt(len(target)))
    return _jackknifed(lambda kept: scored(score, predicted[kept], target[kept], task), len(target))


def _jackknifed(statistic: Callable[[Tensor], float | None], count: int) -> float:
    """Return the jackknife standard error of a statistic of masked examples, over 16 random parts."""
    parts = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % PARTS
    found = [statistic(parts != part) for part in range(PARTS)]
    values = torch.tensor([math.nan if one is None else one for one in found], dtype=torch.float64)
    error = float(((PARTS - 1) / PARTS * (values - values.mean()).square().sum()).sqrt())
    return error if math.isfinite(error) else math.inf
