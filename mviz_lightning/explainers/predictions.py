"""Predictions with labels: the outputs to explain."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.functional import Task
from mviz_lightning.functional.scores import predictions


@dataclass(frozen=True)
class Outcome:
    """One example's prediction and label.

    Attributes:
        predicted: Class, list of labels, value, or list of values.
        target: The label in the same form; None if unknown.
        probability: Probability of the predicted class; None for values.
        roles: Output to explain -> its role: ``true``, ``predicted``, both, or ``output`` if there is no choice.
    """

    predicted: Any
    target: Any
    probability: float | None
    roles: dict[int, str]


def outcome(outputs: Tensor, target: Tensor | None, task: Task) -> Outcome:
    """Return the outcome of one example.

    Args:
        outputs: ``(C,)`` outputs of the model.
        target: The example's label, of any shape.
        task: Type of the prediction task.
    """
    if task == "regression":
        return Outcome(_plain(outputs), None if target is None else _plain(target.double()), None, {0: "output"})
    probability = predictions(outputs.double().unsqueeze(0), task).flatten()
    if task == "multilabel":
        return _of_labels(probability, target)
    if task == "binary":
        positive = float(probability[0])
        label = None if target is None else int(target)
        return Outcome(int(positive > 0.5), label, max(positive, 1 - positive), {0: "output"})
    predicted, label = int(probability.argmax()), None if target is None else int(target)
    roles = _roles(label, predicted)
    return Outcome(predicted, label, float(probability[predicted]), roles)


def _roles(true: int | None, predicted: int) -> dict[int, str]:
    """Return the outputs to explain; the first one is drawn over the training."""
    if true is None:
        return {predicted: "predicted"}
    return {predicted: "true and predicted"} if true == predicted else {true: "true", predicted: "predicted"}


def _of_labels(probability: Tensor, target: Tensor | None) -> Outcome:
    """Return the outcome of labels: the strongest label and the strongest true label are explained."""
    on = (probability > 0.5).nonzero().flatten().tolist()
    strongest = int(probability.argmax())
    if target is None:
        return Outcome(on, None, float(probability[strongest]), _roles(None, strongest))
    true = target.flatten().bool()
    best = int(torch.where(true, probability.cpu(), -1.0).argmax()) if bool(true.any()) else None
    return Outcome(on, true.nonzero().flatten().tolist(), float(probability[strongest]), _roles(best, strongest))


def _plain(values: Tensor) -> Any:
    numbers = values.flatten().tolist()
    return numbers[0] if len(numbers) == 1 else numbers
