"""What can stand for masked entries: the mean of numbers, the most frequent of categories."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.deprecations import renamed_arguments

if TYPE_CHECKING:
    from mviz_lightning.modalities.base import ModalityType


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


@renamed_arguments(kind="modality_type")
def fill(modality_type: "ModalityType", values: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> Tensor:
    """Return the baseline: the values that masked entries get.

    Args:
        modality_type: Its ``default_baseline``, or the ``baseline`` of its modality, decides.
        values: ``(N, ...)``, all examples.
        dims: Axes over which ``"mean"`` is taken.
        mask: Broadcastable to ``values``: True at entries that count for the mean. Non-finite entries never count.

    Returns:
        Broadcastable to ``values``, of the same element type.

    Raises:
        ConfigurationError: The baseline is another text than ``"zero"`` and ``"mean"``.
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
    """Return the baseline that the user gave, else that of the type."""
    given = modality_type.modality.baseline
    return modality_type.default_baseline if given is None else given


def baseline_in_words(baseline: str | float) -> str:
    """Return words that complete "masked parts are ..."."""
    if isinstance(baseline, str):
        return {"zero": "0", "mean": "the examples' mean", "blur": "blurred"}.get(baseline, baseline)
    return f"{baseline:g}"
