"""The scale on which outputs are decomposed."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Task: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression"]

NOTEWORTHY = 1e-3
"""Rounding noise from which on shares are qualified."""


def decomposable(outputs: Tensor, task: Task, scale: Tensor | None = None) -> Tensor:
    """Return the outputs in float64 on the scale on which they are decomposed.

    Multiclass logits are centred over the classes, because softmax ignores a shift common to all classes and an
    uncentred shift would be read as a contribution. Regression outputs are divided by ``scale``, so that an output
    with a large unit does not drown the others. Pass no probabilities: their
    saturation reads as interaction.

    Args:
        outputs: ``(..., C)`` logits or predicted values, in any floating type.
        task: What the outputs stand for.
        scale: ``(C,)`` standard deviations of the targets; used for regression only.

    Returns:
        ``(..., C)`` in float64.
    """
    outputs = outputs.double()
    if task == "multiclass":
        return outputs - outputs.mean(-1, keepdim=True)
    if task == "regression" and scale is not None:
        return outputs / scale.to(outputs)
    return outputs


def decisions(outputs: Tensor, task: Task) -> Tensor:
    """Return what the model decides, in float64: the predicted class as one-hot, or 0/1 for each label.

    Args:
        outputs: ``(..., C)`` logits.
        task: What the outputs stand for; a regression decides nothing.

    Returns:
        ``(..., C)`` of 0 and 1.

    Raises:
        ValueError: The task is regression.
    """
    if task == "regression":
        raise ValueError("task='regression': values are no decisions.")
    if task == "multiclass":
        return functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).double()
    return (outputs > 0).double()


def noise_floor(outputs: Tensor, modalities: int = 2) -> float:
    """Return the share of variance that rounding of the outputs' own type can feign.

    Args:
        outputs: ``(R, C)`` as the model gave them, in their own type.
        modalities: How many there are. The grid of two squares the rounding error of a row; the tuples of more
            multiply it with the outputs.

    Returns:
        In ``[0, 1]``; 1 when the outputs do not vary.
    """
    values = outputs.double()
    spread = values.var(0).sum()
    rounding = (torch.finfo(outputs.dtype).eps * values).square().mean(0).sum()
    floor = rounding / spread / 12 if modalities == 2 else (rounding / spread).sqrt()
    return float(floor.nan_to_num(1.0).clamp(max=1))
