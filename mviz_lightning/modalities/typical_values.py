"""What can stand for masked entries: the mean of numbers, the most frequent of categories."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_over(values: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return the mean of ``(N, ...)`` finite values where ``mask`` is True, with the same number of axes."""
    counts = torch.isfinite(values) if mask is None else torch.isfinite(values) & mask.bool()
    weights = counts.double()
    total = weights.sum(list(dims), keepdim=True).clamp(min=1)
    return ((values.double().where(counts, 0) * weights).sum(list(dims), keepdim=True) / total).to(values.dtype)


def most_frequent(rows: Tensor) -> Tensor:
    """Return ``(D,)``: the most frequent value of each column of ``(M, D)`` integers or booleans; 0 without rows."""
    found = rows.long().mode(0).values if len(rows) else rows.new_zeros(rows.shape[1])
    return found.to(rows.dtype)
