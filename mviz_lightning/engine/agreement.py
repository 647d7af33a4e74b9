"""How far two evaluations of the same rows are apart, measured by how much the outputs vary from row to row.

Relative to the largest output, beside an offset of 200 every difference would look small.
"""

import math
import sys

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional.outputs import masked_entries
from mviz_lightning.functional.rounding import ROUNDED

NARROW, WIDE = 2e-2, 1e-3
"""Largest deviation that counts as agreement: of outputs in 16 bits, and of all others."""

ROUNDINGS = {NARROW: 4, WIDE: 64}
"""Largest difference that is rounding, in roundings (eps) of the largest output; those of many layers add up."""

LEAST_SPREAD = 1e-2
"""Smallest spread of an output, as a fraction of the largest: what a nearly constant output does matters little."""

MIXED_ROWS = (
    "examples of a batch influence one another (BatchNorm that uses batch statistics in evaluation mode, contrastive "
    "scores, attention over the batch, a table in the batch that happens to have as many rows as the batch)"
)
SAMPLED = "something is sampled in evaluation mode"
"""Reasons that an error gives if outputs depend on the other rows, or on random numbers."""


class DisagreementError(ConfigurationError):
    """The outputs of a row depend on other rows, on earlier forwards or on random numbers."""


def agree(left: Tensor, right: Tensor) -> bool:
    """Tell whether two ``(R, C)`` evaluations of the same rows are the same up to rounding."""
    return deviation(left, right) <= tolerance(left)


def require_agreement(left: Tensor, right: Tensor, how: str, reason: str) -> None:
    """Check that two evaluations of the same rows agree.

    Args:
        left: ``(R, C)`` outputs.
        right: Outputs of the same rows.
        how: How they were evaluated the second time.
        reason: Why they may differ.

    Raises:
        DisagreementError: They do not agree.
    """
    if not agree(left, right):
        raise DisagreementError(
            f"the same examples gave other outputs {how} (largest difference {deviation(left, right):.2g} of the "
            f"outputs' spread over {len(left)} examples): {reason}. Outputs of recombined rows would have no meaning. "
            "Make the model deterministic and row-wise in evaluation mode, or pass predict=, a function "
            "(module, batch) -> scores, that calls a submodule which is."
        )


def tolerance(outputs: Tensor) -> float:
    """Return the largest :func:`deviation` from ``(R, C)`` outputs that counts as agreement."""
    return NARROW if torch.finfo(number_type(outputs)).bits < 32 else WIDE


def deviation(left: Tensor, right: Tensor) -> float:
    """Return the largest difference of two evaluations of the same rows, as a multiple of the first one's spread.

    What rounding of the largest output explains is taken off. The size of outputs that are the same in all rows stands
    for their spread.

    Args:
        left: ``(R, C)`` outputs. Masked entries, and those that are NaN or infinite, do not count.
        right: Outputs of the same rows.

    Returns:
        0 or larger; infinite if the shapes differ, or if other entries are NaN or infinite.
    """
    left, right = left.cpu(), right.cpu()  # float64 is not known everywhere
    if left.shape != right.shape or not torch.equal(left.isfinite(), right.isfinite()):
        return math.inf
    counted = _counted(left) | _counted(right)  # a mask that only one of them has is a difference
    differences = (left.double() - right.double()).abs().where(counted, 0.0).amax(0)
    rounding = ROUNDINGS[tolerance(left)] * _eps(left) * _size(left)
    return float(((differences - rounding).clamp(min=0) / _scale(left)).max())


def spread(outputs: Tensor) -> Tensor:
    """Return ``(C,)`` float64: the standard deviation of each output over the rows, at least 1 % of the largest.

    Args:
        outputs: ``(R, C)``. Masked entries, and those that are NaN or infinite, do not count.
    """
    outputs = outputs.cpu()
    counted = _counted(outputs)
    values, number = outputs.double().where(counted, 0.0), counted.sum(0).clamp(min=1)
    centred = (values - values.sum(0) / number).where(counted, 0.0)
    own = (centred.square().sum(0) / number).sqrt()
    return own.clamp(min=LEAST_SPREAD * float(own.max()))


def _scale(outputs: Tensor) -> Tensor:
    """Return ``(C,)``: for each output the size of a difference that is a deviation of 1."""
    found, size = spread(outputs), _size(outputs)
    varying = bool((found > ROUNDED * _eps(outputs) * size).any())
    return found if varying else found.new_full(found.shape, max(size, sys.float_info.min))


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
    return outputs.isfinite() & ~masked_entries(outputs, "multilabel")
