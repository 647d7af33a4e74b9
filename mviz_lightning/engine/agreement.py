"""How far two evaluations of the same rows are apart, measured by how much the outputs vary from row to row.

Relative to the largest output, beside an offset of 200 every difference would look small.
"""

import math
import sys

import torch
from torch import Tensor

from mviz_lightning.functional.outputs import masked_classes
from mviz_lightning.functional.rounding import ROUNDED

NARROW, WIDE = 2e-2, 1e-3
"""Largest deviation that counts as agreement: of outputs in 16 bits, and of all others."""

ROUNDINGS = {NARROW: 4, WIDE: 64}
"""Largest difference that is rounding, in roundings (eps) of the largest output; those of many layers add up."""


def agree(left: Tensor, right: Tensor) -> bool:
    """Tell whether two ``(R, C)`` evaluations of the same rows are the same up to rounding."""
    return deviation(left, right) <= tolerance(left)


def tolerance(outputs: Tensor) -> float:
    """Return the largest :func:`deviation` from ``(R, C)`` outputs that counts as agreement."""
    return NARROW if torch.finfo(number_type(outputs)).bits < 32 else WIDE


def deviation(left: Tensor, right: Tensor) -> float:
    """Return the largest difference of two evaluations of the same rows, as a multiple of the first one's spread.

    What rounding of the largest output explains is taken off. The size of outputs that are the same in all rows stands
    for their spread.

    Args:
        left: ``(R, C)`` outputs. Masked classes, and entries that are NaN or infinite, do not count.
        right: Outputs of the same rows.

    Returns:
        0 or larger; infinite if the shapes differ, or if other entries are NaN or infinite.
    """
    left, right = left.cpu(), right.cpu()  # float64 is not known everywhere
    counted = _counted(left)
    if left.shape != right.shape or not torch.equal(left.isfinite(), right.isfinite()):
        return math.inf
    differences = (left.double() - right.double())[counted].abs()
    size, rounding = _size(left), ROUNDINGS[tolerance(left)] * _eps(left)
    beyond = float(differences.max()) - rounding * size if len(differences) else 0.0
    return beyond / _scale(left) if beyond > 0 else 0.0


def spread(outputs: Tensor) -> float:
    """Return how much ``(R, C)`` outputs vary from row to row: the standard deviation around each column's mean.

    Masked classes, and entries that are NaN or infinite, do not count; without any other entry it is 0.
    """
    outputs = outputs.cpu()
    counted = _counted(outputs)
    values, number = outputs.double().where(counted, 0.0), counted.sum(0).clamp(min=1)
    centred = (values - values.sum(0) / number).where(counted, 0.0)
    return float((centred.square().sum() / counted.sum().clamp(min=1)).sqrt())


def _scale(outputs: Tensor) -> float:
    """Return the size of a difference that is a deviation of 1."""
    varying, size = spread(outputs), _size(outputs)
    return varying if varying > ROUNDED * _eps(outputs) * size else max(size, sys.float_info.min)


def _size(outputs: Tensor) -> float:
    return float(outputs.where(_counted(outputs), 0.0).abs().max())


def _eps(outputs: Tensor) -> float:
    return torch.finfo(number_type(outputs)).eps


def number_type(outputs: Tensor) -> torch.dtype:
    """Return the type in which outputs were computed: that of 16 bits if their own only holds its numbers.

    Models often return ``logits.float()`` of layers that work in 16 bits.
    """
    values = outputs[outputs.isfinite()]
    if torch.equal(values, values.round()):  # whole numbers fit into every type
        return outputs.dtype
    narrow = (torch.bfloat16, torch.float16)  # in this order: the numbers of the first mostly fit into the second
    return next((dtype for dtype in narrow if torch.equal(values.to(dtype).to(values), values)), outputs.dtype)


def _counted(outputs: Tensor) -> Tensor:
    """Return ``(R, C)`` bool: the entries that are compared."""
    return outputs.isfinite() & ~masked_classes(outputs, "multilabel")
