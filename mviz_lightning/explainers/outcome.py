"""Predictions beside labels: which outputs to explain, and which examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.functional import Task
from mviz_lightning.functional.scores import predictions
from mviz_lightning.functional.targets import labelled


@dataclass(frozen=True)
class Outcome:
    """One example's prediction beside its label.

    Attributes:
        predicted: Class, list of labels, value, or list of values.
        target: The label in the same form; None if it is unknown.
        probability: Probability of the predicted class; None for values.
        roles: Output to explain -> why: ``true``, ``predicted``, both, or ``output`` if there is no choice.
    """

    predicted: Any
    target: Any
    probability: float | None
    roles: dict[int, str]


def outcome(outputs: Tensor, target: Tensor | None, task: Task) -> Outcome:
    """Read one example's outputs.

    Args:
        outputs: ``(C,)`` as the model gave them.
        target: Its label, of any shape.
        task: What the outputs stand for.
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
    """Return the outputs to explain, the one to follow over the training first."""
    if true is None:
        return {predicted: "predicted"}
    return {predicted: "true and predicted"} if true == predicted else {true: "true", predicted: "predicted"}


def _of_labels(probability: Tensor, target: Tensor | None) -> Outcome:
    """Explain the strongest label, and the strongest of the true ones."""
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


def spread(outputs: Tensor, target: Tensor | None, examples: Tensor, task: Task, count: int) -> list[int]:
    """Choose examples from all classes in turn, mistakes first.

    Args:
        outputs: ``(K, C)`` of the candidates, as the model gave them.
        target: ``(K, ...)`` their labels; those without one are neither right nor wrong.
        examples: ``(K,)`` the candidates.
        task: What the outputs stand for.
        count: How many are wanted.
    """
    strata, wrong = _strata(outputs, target, task), _wrong(outputs, target, task)
    turns: dict[int, int] = {}
    keys = []
    for k in sorted(range(len(examples)), key=lambda k: (not wrong[k], k)):
        turn = turns.get(strata[k], 0)
        turns[strata[k]] = turn + 1
        keys.append((turn, not wrong[k], k))
    return [int(examples[k]) for *_, k in sorted(keys)[:count]]


def _strata(outputs: Tensor, target: Tensor | None, task: Task) -> Sequence[int]:
    """Return the class of every candidate; quarters of the range for values."""
    key = outputs if target is None else target.to(outputs.device)
    key = key.view(len(outputs), -1).double()
    if task == "regression":
        rank = key.mean(1).argsort().argsort()
        return (rank * 4 // max(1, len(rank))).tolist()
    if key.shape[1] == 1:
        return (key[:, 0] if target is not None else key[:, 0] > 0).long().tolist()
    return key.argmax(1).tolist()


def _wrong(outputs: Tensor, target: Tensor | None, task: Task) -> Sequence[bool]:
    if target is None:
        return [False] * len(outputs)
    known, truth = labelled(target, task), target.to(outputs.device).view(len(outputs), -1)
    return (_missed(outputs, truth, task) & known.to(outputs.device)).tolist()


def _missed(outputs: Tensor, truth: Tensor, task: Task) -> Tensor:
    """Return ``(K,)`` whether decisions are wrong, or values further from the truth than most."""
    if task == "regression":
        error = (outputs - truth).abs().mean(1)
        return error > error.nanmedian()
    if task == "multiclass":
        return outputs.argmax(1) != truth[:, 0]
    return ((outputs > 0) != truth.bool()).any(1)
