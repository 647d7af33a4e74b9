"""Baselines of masked entries: the mean of numbers, the most frequent category."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.deprecations import renamed_arguments

if TYPE_CHECKING:
    from mviz_lightning.modalities.base import ModalityType


SUMMED_AT_ONCE = 2**22
"""Largest number of entries that are summed at once for a mean: 32 MiB of float64."""


def mean_over(values: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return the mean of ``(N, ...)`` finite values where ``mask`` is True, with the same number of axes.

    Args:
        values: The values; examples are summed in blocks, because float64 copies take twice their memory or more.
        dims: Axes over which the mean is taken.
        mask: Broadcastable to ``values``; None counts all.
    """
    size = max(1, SUMMED_AT_ONCE * len(values) // max(1, values.numel()) if 0 in dims else len(values))
    blocks = torch.split(values, size)
    masks = [None] * len(blocks) if mask is None else torch.split(mask.bool().expand_as(values), size)
    sums = [_sum_and_count(block, list(dims), own) for block, own in zip(blocks, masks, strict=True)]
    total, count = (torch.stack(parts).sum(0) if len(parts) > 1 else parts[0] for parts in zip(*sums, strict=True))
    return (total / count.clamp(min=1)).to(values.dtype)


def _sum_and_count(values: Tensor, dims: list[int], mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sum and the number of finite values where ``mask`` is True, in float64."""
    counts = torch.isfinite(values) if mask is None else torch.isfinite(values) & mask
    weights = counts.double()
    return (values.double().where(counts, 0) * weights).sum(dims, keepdim=True), weights.sum(dims, keepdim=True)


def most_frequent(rows: Tensor) -> Tensor:
    """Return ``(D,)``: the most frequent value of each column of ``(M, D)`` integers or booleans; 0 without rows."""
    found = rows.long().mode(0).values if len(rows) else rows.new_zeros(rows.shape[1])
    return found.to(rows.dtype)


@renamed_arguments(kind="modality_type")
def fill(modality_type: "ModalityType", values: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return the baseline: the values that masked entries get.

    Args:
        modality_type: The ``baseline`` of its modality is used, otherwise its ``default_baseline``.
        values: ``(N, ...)``, all examples.
        dims: Axes over which ``"mean"`` is taken.
        mask: Broadcastable to ``values``: True at entries that count for the mean. Non-finite entries never count.

    Returns:
        Broadcastable to ``values``, of the same element type.

    Raises:
        ConfigurationError: The baseline is a text other than ``"zero"`` and ``"mean"``.
    """
    chosen = chosen_baseline(modality_type)
    if chosen == "zero":
        return torch.zeros([1] * values.dim(), dtype=values.dtype)
    if chosen == "mean":
        return mean_over(values, dims, mask)
    if isinstance(chosen, str):
        path = modality_type.modality.values
        raise ConfigurationError(f"baseline={chosen!r} of {path!r}: give 'zero', 'mean' or a number.")
    return torch.full([1] * values.dim(), chosen, dtype=values.dtype)


def chosen_baseline(modality_type: "ModalityType") -> str | float:
    """Return the baseline that the user gave, otherwise the default of the type."""
    given = modality_type.modality.baseline
    return modality_type.default_baseline if given is None else given


def baseline_in_words(baseline: str | float) -> str:
    """Return words that complete "masked parts are ..."."""
    if isinstance(baseline, str):
        return {"zero": "0", "mean": "the examples' mean", "blur": "blurred"}.get(baseline, baseline)
    return f"{baseline:g}"
