"""One number per row, for the measures of other papers: the output that belongs to the real example's prediction."""

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import Task, decomposable


def prediction_scores(outputs: Tensor, task: Task, scale: Tensor | None = None) -> Tensor:
    """Return probabilities of classes or labels in float64; for a regression, :func:`decomposable` values.

    Args:
        outputs: ``(..., C)`` logits or values.
        task: Type of the prediction task.
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
    """Return the values of the predicted class or of the strongest label; for a regression, all outputs with a sign.

    For the predicted class, positive values support the prediction, in all examples. Without such a common sign, mean
    contributions over examples are 0. Regression values have no class, so they get the sign of the example's own output
    less the mean of the group's own outputs.

    Args:
        values: ``(..., g, J, K, C)`` values that belong to g examples.
        own: ``(..., g, C)`` outputs of the real examples.
        task: Type of the prediction task.

    Returns:
        ``(..., g, J, K, 1)``, or ``(..., g, J, K, C)`` for a regression.
    """
    if task == "regression":
        return values * (own - own.mean(-2, keepdim=True)).sign()[..., None, None, :]
    predicted = own.argmax(-1)[..., None, None, None]
    return values.gather(-1, predicted.expand(*values.shape[:-1], 1))
