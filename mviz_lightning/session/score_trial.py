"""Try a given score before the first run: on labels of the first examples, with perfect predictions of them."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.collapse.raw_inputs import encoded
from mviz_lightning.errors import ConfigurationError, describe_error, raised_here
from mviz_lightning.errors.arguments import in_short
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import decided, graded, labelled
from mviz_lightning.metrics.local import local_value
from mviz_lightning.metrics.score_forms import fitted
from mviz_lightning.session.label_reading import ReadLabels

FEWEST = 2
"""Smallest number of labels on which a score is tried: R2 needs two."""

SIZES: dict[Task, str] = {"multiclass": "num_classes", "multilabel": "num_labels"}
"""Task -> the argument of its torchmetrics that holds the number of outputs."""


def try_score(score: Metric | None, read: ReadLabels, outputs: int, *, by_example: bool) -> None:
    """Check that a score has the size of the outputs, takes predictions and labels, and is one number.

    Args:
        score: A torchmetric that the user gave; None if they gave none.
        read: Labels of a few examples.
        outputs: Number of outputs, C.
        by_example: Whether an example has one row of outputs; of maps and sequences only the size is checked.

    Raises:
        ConfigurationError: The score fails one of these checks.
    """
    if score is None or read.target is None:
        return
    _require_size(score, read.task, outputs)
    target = read.target.double() if graded(read.target, read.task) else decided(read.target, read.task)
    known = target[labelled(target, read.task)]
    if by_example and len(known) >= FEWEST:
        _require_number(score, read.task, encoded(known, read.task, outputs), known)


def _require_size(score: Metric, task: Task, outputs: int) -> None:
    argument = SIZES.get(task, "")
    size, ignored = getattr(score, argument, None), getattr(score, "ignore_index", None)
    if isinstance(size, int) and size != outputs and ignored is None:
        name = type(score).__name__
        raise ConfigurationError(
            f"score={name}({argument}={size}): the model has {outputs} outputs; give {name}({argument}={outputs})."
        )


def _require_number(score: Metric, task: Task, answers: Tensor, known: Tensor) -> None:
    predicted = answers.squeeze(-1) if answers.shape[1] == 1 else answers
    try:
        value = _value(fitted(score, task, answers, known), predicted, known)
    except Exception as error:  # a score of the user's own may raise anything
        if raised_here(error):
            raise
        raise ConfigurationError(
            f"score={type(score).__name__}(...) takes neither probabilities {tuple(predicted.shape)} nor classes with "
            f"the labels {tuple(known.shape)} of task={task!r}: {describe_error(error)}. Give a torchmetric of that "
            "task, or leave score= out."
        ) from error
    if not isinstance(value, int | float | Tensor) or torch.as_tensor(value).numel() != 1:
        raise ConfigurationError(
            f"score={type(score).__name__}(...) is not one number but {in_short(value)}; give a score that is, for "
            "example with average='macro'."
        )


def _value(score: Metric, predicted: Tensor, known: Tensor) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score.update(predicted, known)
        return local_value(score)
