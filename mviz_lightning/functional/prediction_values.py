"""Outputs as the measures of other papers take them: one number per row, of the prediction of the real example."""

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import Task, decomposable


def prediction_scores(outputs: Tensor, task: Task, scale: Tensor | None = None) -> Tensor:
    """Return probabilities of classes or labels in float64, and values of a regression as they are decomposed.

    Args:
        outputs: ``(..., C)`` logits or values.
        task: What the outputs stand for.
        scale: ``(C,)`` standard deviations of the targets; used for regression only.

    Returns:
        ``(..., C)``; one logit becomes the probabilities of two classes, ``(..., 2)``.
    """
    if task == "regression":
        return decomposable(outputs, task, scale)
    if task == "multilabel":
        return outputs.double().sigmoid()
    logits = outputs.double()
    return (torch.cat([torch.zeros_like(logits), logits], -1) if task == "binary" else logits).softmax(-1)


def of_prediction(values: Tensor, own: Tensor, task: Task) -> Tensor:
    """Return the values of the predicted class, or of the strongest label; of a regression all outputs, with a sign.

    The predicted class turns all examples into the same direction: what speaks for the prediction is positive. Without
    such a direction, mean contributions over examples are 0. A value has none, so its sign is that of the own output
    less the mean of the group's own outputs.

    Args:
        values: ``(..., g, J, K, C)`` values that belong to g examples.
        own: ``(..., g, C)`` outputs of the real examples.
        task: What the outputs stand for.

    Returns:
        ``(..., g, J, K, 1)``, or ``(..., g, J, K, C)`` for a regression.
    """
    if task == "regression":
        return values * (own - own.mean(-2, keepdim=True)).sign()[..., None, None, :]
    predicted = own.argmax(-1)[..., None, None, None]
    return values.gather(-1, predicted.expand(*values.shape[:-1], 1))
