"""Which columns vary by more than rounding, for any order of additions of the processor."""

import torch
from torch import Tensor

ROUNDED = 4
"""Largest change that counts as rounding, in eps of the largest value."""


def rounding_of(values: Tensor) -> Tensor:
    """Return ``(F,)`` float64: the largest deviation of ``(n, F)`` values that may be rounding of their number type."""
    precision = torch.finfo(values.dtype if values.is_floating_point() else torch.float64)
    return ROUNDED * precision.eps * values.double().abs().amax(0)


def beyond_rounding(values: Tensor) -> Tensor:
    """Return ``(F,)`` bool: whether ``(n, F)`` values differ by more than rounding; False if one of them is NaN."""
    return values.double().std(0, correction=0) > rounding_of(values)


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(F,)`` means and standard deviations in float64; the deviation of a constant feature is infinite.

    Args:
        features: ``(n, F)``; features that vary only by rounding are constant.
    """
    values = features.double()
    return values.mean(0), values.std(0, correction=0).where(beyond_rounding(features), torch.inf)
