"""The linear surrogate of local explanations (LIME, Ribeiro et al. 2016), with the settings that DIME uses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.errors.deprecations import renamed_arguments
from mviz_lightning.functional.numerals import ROUNDING

KERNEL_WIDTH = 0.25
"""Width of the LIME kernel, in cosine distance from the unmasked example; the value of DIME's released code."""

ALPHA = 1.0
"""Ridge penalty on the weights; the value of LIME's and DIME's released code."""

EXACT = 1e-12
"""Largest size of residuals, relative to the responses, that counts as rounding in float64."""


def rounding(dtype: torch.dtype) -> float:
    """Return the largest spread of responses, relative to their size, that may be rounding in a number type."""
    return max(ROUNDING, 4 * torch.finfo(dtype).eps)


@renamed_arguments(units="segments")
def draw_masks(segments: int, samples: int, seed: int = 0) -> Tensor:
    """Draw masks that keep each segment with probability 1/2 (LIME, Ribeiro et al. 2016).

    Args:
        segments: Number of segments, U.
        samples: Number of masks; if there are no more than ``samples`` different masks (2^U), all are taken.
        seed: Seed of the draw.

    Returns:
        ``(S, U)`` bool, True where a segment stays; the first mask keeps all.
    """
    if 2**segments <= samples:
        codes = torch.arange(2**segments - 1, -1, -1).unsqueeze(1)
        return codes.bitwise_right_shift(torch.arange(segments)).bitwise_and(1).bool()
    masks = torch.rand(samples, segments, generator=torch.Generator().manual_seed(seed)) < 0.5
    masks[0] = True
    return masks


def kernel(masks: Tensor, width: float = KERNEL_WIDTH) -> Tensor:
    """Return the weights of masks: ``sqrt(exp(-d^2 / width^2))``, d the cosine distance from the unmasked example.

    Args:
        masks: ``(S, U)`` bool.
        width: Width of the kernel.

    Returns:
        ``(S,)`` in ``(0, 1]``, float64.
    """
    stays = masks.double().mean(1) if masks.shape[1] else masks.new_ones(len(masks), dtype=torch.float64)
    distance = 1 - stays.sqrt()
    return (-distance.square() / (2 * width**2)).exp()


@dataclass(frozen=True)
class Surrogate:
    """A weighted ridge regression of responses on masks.

    Attributes:
        weights: ``(U, K)``: change of each of K responses when a segment is present.
        r2: ``(K,)`` leave-one-out R², up to 1: fraction of the responses' variance on held-out masks that the weights
            predict; NaN if the response does not vary.
    """

    weights: Tensor
    r2: Tensor


def surrogate(
    masks: Tensor, responses: Tensor, *, width: float = KERNEL_WIDTH, alpha: float = ALPHA, floor: float = 0.0
) -> Surrogate:
    """Fit the linear surrogate of LIME to the responses of masked inputs (Ribeiro et al. 2016, eq. 2, as a ridge).

    ``min over w, b of sum_s kernel(s) * (response_s - b - s @ w)^2 + alpha * |w|^2``. The weights are linear in the
    responses. DIME's responses (Lyu et al. 2022) are the mean over donors for UC, and the own output less this mean for
    MI. So the weights of UC and MI add up to the weights of plain LIME.

    Args:
        masks: ``(S, U)`` bool, True where a segment stays.
        responses: ``(S, K)`` outputs for the masks.
        width: Width of the kernel, in cosine distance.
        alpha: Ridge penalty.
        floor: Largest spread of the responses that counts as rounding. For differences of outputs, pass the value of
            the outputs.

    Returns:
        Weights and leave-one-out R² of K responses.
    """
    design, responses = masks.to(responses.device, torch.float64), responses.double()
    importance = kernel(masks, width).to(responses.device)
    share = importance / importance.sum()
    centred, spread = design - share @ design, responses - share @ responses
    gram = centred.T @ (importance[:, None] * centred) + alpha * torch.eye(design.shape[1]).to(design)
    projection = torch.linalg.solve(gram, (importance[:, None] * centred).T)  # (U, S)
    weights = projection @ spread
    leverage = share + (centred * projection.T).sum(1)
    residual = spread - centred @ weights
    # An exact fit has leverages of 1, and its residuals are rounding.
    residual = residual.where(residual.abs() > EXACT * responses.abs().amax(0), 0.0)
    r2 = _leave_one_out(spread, residual, importance, leverage)
    varies = spread.abs().amax(0) > (ROUNDING * responses.abs().amax(0)).clamp(min=floor)
    return Surrogate(weights, torch.where(varies, r2, torch.nan))


def _leave_one_out(spread: Tensor, residual: Tensor, importance: Tensor, leverage: Tensor) -> Tensor:
    """Return ``1 - PRESS / PRESS of the mean alone``, both in closed form (Allen 1974).

    In-sample R² would be 0.2 to 0.9 on pure noise, because there are only a few masks per segment.
    """
    missed = (residual / (1 - leverage).clamp(min=1e-12).unsqueeze(1)).square()
    share = importance / importance.sum()
    missed_by_mean = (spread / (1 - share).clamp(min=1e-12).unsqueeze(1)).square()
    return 1 - (importance @ missed) / (importance @ missed_by_mean)
