"""What varies: differences within rounding are none, whichever way a processor adds up."""

import torch
from torch import Tensor

ROUNDED = 4
"""How often the rounding of the largest value may add up in a column that is constant."""


def rounding_of(values: Tensor) -> Tensor:
    """Return ``(F,)`` float64: the deviation that rounding can feign in ``(n, F)`` values of their own type."""
    precision = torch.finfo(values.dtype if values.is_floating_point() else torch.float64)
    return ROUNDED * precision.eps * values.double().abs().amax(0)


def beyond_rounding(values: Tensor) -> Tensor:
    """Return ``(F,)`` bool: whether ``(n, F)`` values differ by more than their rounding; False where one is NaN."""
    return values.double().std(0, correction=0) > rounding_of(values)


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(F,)`` means and standard deviations in float64; these infinite where a feature is constant.

    Args:
        features: ``(n, F)``; what varies no more than by rounding is constant.
    """
    values = features.double()
    return values.mean(0), values.std(0, correction=0).where(beyond_rounding(features), torch.inf)
