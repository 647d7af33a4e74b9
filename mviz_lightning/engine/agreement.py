"""The difference between two evaluations of the same rows, relative to the outputs' spread over the rows.

The largest output is no good unit: with outputs around 200, every difference would look small.
"""

import math
import sys

import torch
from torch import Tensor

from mviz_lightning.engine.devices import product_type
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.functional.outputs import masked_entries
from mviz_lightning.functional.rounding import ROUNDED

NARROW, WIDE = 2e-2, 1e-3
"""Largest :func:`deviation` that counts as agreement: for outputs in 16-bit precision, and for all others."""

ROUNDINGS = {NARROW: 4, WIDE: 64}
"""Largest difference that counts as rounding, in units of eps times the largest output: errors of layers add up."""

LEAST_SPREAD = 1e-2
"""Smallest spread of an output, as a fraction of the largest spread: a nearly constant output matters little."""

MIXED_ROWS = (
    "examples of a batch influence one another (BatchNorm that uses batch statistics in evaluation mode, contrastive "
    "scores, attention over the batch, a table in the batch that happens to have as many rows as the batch)"
)
SAMPLED = "the model draws random numbers in evaluation mode"
UNSHARED = (
    "the noise of an example depends on its position in the batch (for example, NumPy draws it for each row); or "
    + MIXED_ROWS
)
"""Reasons that an error gives if outputs depend on the other rows, or on random numbers."""

ADVICE = (
    "Make the model deterministic and row-wise in evaluation mode, or pass predict=, a function (module, batch) -> "
    "scores, that calls a submodule which is."
)
"""What to do about outputs that depend on other rows or on random numbers."""

COMPARED_DRAWS = 8
"""Number of draws of the noise that are compared with the user's own outputs, which have their own noise."""

NOISE_EXPLAINS = 3
"""Largest distance of the user's own outputs from the mean draw, as a multiple of the draws' own distance from it.

Both distances are root mean squares. With 4 independent numbers, the fewest that are compared, noise alone exceeds this
once in a million comparisons.
"""


class DisagreementError(NotMeasurableError):
    """The outputs of a row depend on other rows, on earlier forwards or on random numbers."""


def agree(left: Tensor, right: Tensor) -> bool:
    """Return whether two ``(R, C)`` evaluations of the same rows agree up to rounding."""
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
        raise disagreement(deviation(left, right), len(left), how, reason)


def disagreement(size: float, rows: int, how: str, reason: str, advice: str = ADVICE) -> DisagreementError:
    """Return the error for outputs of the same rows that do not agree.

    Args:
        size: Their :func:`deviation`.
        rows: Number of rows.
        how: How they were evaluated the second time.
        reason: Why they may differ.
        advice: What to do.
    """
    return DisagreementError(
        f"the same examples gave other outputs {how} (largest difference {size:.2g} of the outputs' spread over "
        f"{rows} examples): {reason}. Outputs of recombined rows would have no meaning. {advice}"
    )


def tolerance(outputs: Tensor) -> float:
    """Return the largest :func:`deviation` from ``(R, C)`` outputs that counts as agreement."""
    return NARROW if torch.finfo(number_type(outputs)).bits < 32 else WIDE


def deviation(left: Tensor, right: Tensor) -> float:
    """Return the largest difference between two evaluations of the same rows, as a multiple of the first one's spread.

    The rounding error of the largest output is subtracted first. If no output varies over the rows, the unit is the
    size of the largest output.

    Args:
        left: ``(R, C)`` outputs. Masked entries, and those that are NaN or infinite, do not count.
        right: Outputs of the same rows.

    Returns:
        0 or larger; infinite if the shapes differ, or if other entries are NaN or infinite.
    """
    left, right = left.cpu(), right.cpu()  # not every device supports float64
    if left.shape != right.shape or not torch.equal(left.isfinite(), right.isfinite()):
        return math.inf
    counted = _counted(left) | _counted(right)  # a mask that only one of them has is a difference
    differences = (left.double() - right.double()).abs().where(counted, 0.0).amax(0)
    rounding = ROUNDINGS[tolerance(left)] * _eps(left) * _size(left)
    return float(((differences - rounding).clamp(min=0) / _scale(left)).max())


def deviation_beyond_noise(own: Tensor, draws: Tensor) -> float:
    """Return how far outputs with their own noise are from the outputs of other draws of the noise.

    The distance from the mean draw is a root mean square over all entries, in units of the outputs' spread. The part
    that noise explains is subtracted: :data:`NOISE_EXPLAINS` times the draws' own distance from their mean.

    Args:
        own: ``(R, C)`` outputs; each row has its own noise.
        draws: ``(K, R, C)`` outputs of the same rows for K draws.

    Returns:
        0 or larger; infinite if the shapes differ, or if other entries are NaN or infinite.
    """
    own, draws = own.cpu().double(), draws.cpu().double()
    if own.shape != draws.shape[1:] or not torch.equal(own.isfinite(), draws.isfinite().all(0)):
        return math.inf
    mean = draws.mean(0)
    counted, scale = _counted(own) & _counted(mean), _scale(mean)
    apart = ((own - mean) / scale)[counted].square().mean()
    noise = (draws.std(0) / scale)[counted].square().mean() * (1 + 1 / len(draws))
    return max(0.0, float(apart.sqrt() - NOISE_EXPLAINS * noise.sqrt()))


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
    """Return ``(C,)``: for each output, the difference that counts as a deviation of 1."""
    found, size = spread(outputs), _size(outputs)
    varying = bool((found > ROUNDED * _eps(outputs) * size).any())
    return found if varying else found.new_full(found.shape, max(size, sys.float_info.min))


def _size(outputs: Tensor) -> float:
    return float(outputs.where(_counted(outputs), 0.0).abs().max())


def _eps(outputs: Tensor) -> float:
    return torch.finfo(number_type(outputs)).eps


def number_type(outputs: Tensor) -> torch.dtype:
    """Return the data type whose precision the outputs were computed in.

    Outputs of float32 may hold 16-bit numbers only: models often return ``logits.float()`` of layers that work in 16
    bits. The type then has 16 bits.
    """
    values = outputs[outputs.isfinite()]
    if torch.equal(values, values.round()):  # whole numbers fit into every type
        return computed_with(outputs.dtype)
    narrow = (torch.bfloat16, torch.float16)  # bfloat16 first: most of its numbers are also numbers of float16
    found = next((dtype for dtype in narrow if torch.equal(values.to(dtype).to(values), values)), outputs.dtype)
    return computed_with(found)


def computed_with(dtype: torch.dtype) -> torch.dtype:
    """Return the type whose precision computations with a type have on the device in use.

    Products of float32 that a GPU rounds to TF32 have the precision of float16.
    """
    return (product_type() if dtype == torch.float32 else None) or dtype


def _counted(outputs: Tensor) -> Tensor:
    """Return ``(R, C)`` bool: the entries that are compared."""
    return outputs.isfinite() & ~masked_entries(outputs, "multilabel")
