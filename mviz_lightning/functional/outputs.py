"""The scale on which outputs are decomposed."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Task: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression"]

NOTEWORTHY = 1e-3
"""Rounding noise from which on shares are qualified."""

Head: TypeAlias = Literal["softmax", "sigmoid"]
"""What made probabilities of logits."""

NEVER = -(2.0**13)
"""Logit of a class that is masked in all rows, exact in every type: a probability of 0, and finite."""

SUMMED = 8
"""How often the rounding of a type may add up in a sum of few probabilities; of many, their square root more."""

NEARLY = 0.999
"""Part of a limit from which on it counts as reached: its logarithm is rounded too."""

FAR, ALIKE = 1e2, 1e-2
"""How many times further from 0 than other logits those of a masked class lie, and in which part they may differ."""


def decomposable(outputs: Tensor, task: Task, scale: Tensor | None = None) -> Tensor:
    """Return the outputs in float64 on the scale on which they are decomposed.

    Multiclass logits are centred over the classes, because softmax ignores a shift common to all classes and an
    uncentred shift would be read as a contribution; classes that are masked in all rows are left out of it and are the
    same in all rows afterwards. Regression outputs are divided by ``scale``, so that an output with a large unit does
    not drown the others. Pass no probabilities, whose saturation reads as interaction: :func:`logits_of` them.

    Args:
        outputs: ``(..., C)`` logits or predicted values, in any floating type.
        task: What the outputs stand for.
        scale: ``(C,)`` standard deviations of the targets; used for regression only.

    Returns:
        ``(..., C)`` in float64.
    """
    if task == "regression":
        return outputs.double() if scale is None else outputs.double() / scale.to(outputs.device).double()
    never = masked_classes(outputs, task)
    outputs = outputs.double()
    if task == "multiclass":
        outputs = outputs - outputs[..., ~never].mean(-1, keepdim=True)
    return outputs.masked_fill(never, NEVER)


def masked_classes(outputs: Tensor, task: Task) -> Tensor:
    """Tell which classes or labels the model excludes in all rows, whatever stands for that.

    Minus infinity, the smallest number of the type, -1e9 and the like, also added to a logit or cut off by softmax:
    all the same to probabilities, but to a variance they are everything or nothing.

    Args:
        outputs: ``(..., C)`` as the model gave them, in their own type.
        task: What the outputs stand for; of values none is masked.

    Returns:
        ``(C,)`` bool; nowhere True where it would be everywhere.
    """
    rows = outputs.detach().reshape(-1, outputs.shape[-1])
    if task == "regression" or rows.shape[1] == 1 or not len(rows):
        return torch.zeros(rows.shape[1], dtype=torch.bool, device=rows.device)
    low, high = rows.double().aminmax(dim=0)
    nothing = (low == high) & (high <= NEARLY * math.log(torch.finfo(rows.dtype).tiny)) & (len(rows) > 1)
    below = high <= NEVER
    rest = torch.where(below | nothing, 0.0, torch.maximum(low.abs(), high.abs())).nan_to_num(posinf=0.0).max()
    alike = (low == high) | (high - low <= ALIKE * low.abs())
    never = nothing | (below & alike & (high <= -FAR * rest))
    return never & ~never.all()


def levelled(outputs: Tensor, task: Task) -> Tensor:
    """Return ``(..., C)`` outputs with one finite number for classes that are masked in all rows."""
    return outputs.masked_fill(masked_classes(outputs, task), NEVER)


def largest_output(outputs: Tensor, task: Task) -> float:
    """Return the size of the largest of ``(..., C)`` outputs, whose rounding counts; masked classes have none."""
    return float(outputs[..., ~masked_classes(outputs, task)].abs().max())


def sums_to_one(outputs: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Tell whether rows ``(R, C)`` are probabilities of classes, to the rounding of a type, their own by default."""
    if outputs.shape[1] < 2 or not within_bounds(outputs):
        return False
    rounding = (SUMMED + math.sqrt(outputs.shape[1])) * torch.finfo(dtype or outputs.dtype).eps
    return float((outputs.double().sum(1) - 1).abs().max()) <= rounding


def within_bounds(outputs: Tensor) -> bool:
    """Tell whether all of ``(R, C)`` outputs, one at least, lie between 0 and 1."""
    return outputs.numel() > 0 and bool(((outputs >= 0) & (outputs <= 1)).all())


def logits_of(probabilities: Tensor, head: Head) -> Tensor:
    """Return the logits that gave probabilities, those of softmax centred over its classes, in their own type.

    Small probabilities are kept to the last digit, so that their logarithm is cut off only where the type ends (-87 in
    float32); what rounds to 1 is cut off at half the type's ``eps`` below it (a logit of 16.6).

    Args:
        probabilities: ``(..., C)`` in 0..1.
        head: What made them.
    """
    dtype = probabilities.dtype
    values = probabilities.to(_wide(dtype))
    if head == "softmax":
        return _centred_logs(values, _least(dtype)).to(dtype)
    return values.clamp(_least(dtype), 1 - torch.finfo(dtype).eps / 2).logit().to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _least(dtype: torch.dtype) -> float:
    """Return the smallest probability of a type whose logarithm can be taken."""
    limits = torch.finfo(dtype)
    return max(limits.tiny * limits.eps, torch.finfo(_wide(dtype)).tiny)


def _centred_logs(probabilities: Tensor, least: float) -> Tensor:
    """Return logarithms less their mean in each row; what is 0 has no part in it, since it may be masked."""
    logs, some = probabilities.clamp(min=least).log(), probabilities > 0
    mean = logs.where(some, 0.0).sum(-1, keepdim=True) / some.sum(-1, keepdim=True)
    return (logs - mean).where(some, math.log(least))


def saturated(logits: Tensor, head: Head) -> float:
    """Return the share of :func:`logits_of` that lie where they were cut off."""
    low, high = logits_of(logits.new_tensor([0.0, 1.0]), head).tolist()
    cut = logits <= NEARLY * low
    return float((cut if head == "softmax" else cut | (logits >= NEARLY * high)).double().mean())


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


def noise_floor(outputs: Tensor, modalities: int = 2, head: Head | None = None) -> float:
    """Return the share of variance that rounding of the outputs' own type can feign.

    Args:
        outputs: ``(R, C)`` as the model gave them, in their own type.
        modalities: How many there are. The grid of two squares the rounding error of a row; the tuples of more
            multiply it with the outputs.
        head: What made probabilities of which these are the logits: the rounding is that of the probabilities.

    Returns:
        In ``[0, 1]``; 1 when the outputs do not vary.
    """
    values = outputs.double()
    spread = values.var(0).sum()
    rounding = (torch.finfo(outputs.dtype).eps * rounded(values, head)).square().mean(0).sum()
    floor = rounding / spread / 12 if modalities == 2 else (rounding / spread).sqrt()
    return float(floor.nan_to_num(1.0).clamp(max=1))


def rounded(logits: Tensor, head: Head | None) -> Tensor:
    """Return what the rounding of a type counts for in logits, or in those behind probabilities p: p dlogit/dp."""
    if head is None:
        return logits.abs()
    return torch.maximum(logits.abs(), 1 + logits.exp() if head == "sigmoid" else torch.ones_like(logits))
