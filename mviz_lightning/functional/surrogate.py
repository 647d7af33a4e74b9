"""The linear surrogate of local explanations (LIME, Ribeiro et al. 2016), with the settings that DIME uses."""

from dataclasses import dataclass

import torch
from torch import Tensor

KERNEL_WIDTH = 0.25
"""Of the kernel, in cosine distance from the unmasked example."""

ALPHA = 1.0
"""Of the ridge penalty."""

ROUNDING = 1e-6
"""Spread of responses, relative to their size, that rounding in float32 can feign."""

EXACT = 1e-12
"""Residuals, relative to the responses, that are rounding in float64."""


def rounding(dtype: torch.dtype) -> float:
    """Return the relative spread that rounding of outputs of a type can feign in differences of them."""
    return max(ROUNDING, 4 * torch.finfo(dtype).eps)


def draw_masks(segments: int, samples: int, seed: int = 0) -> Tensor:
    """Draw masks of which each unit stays in half; all there are where they are no more than asked for.

    Args:
        segments: U, how many there are.
        samples: How many masks at the most.
        seed: Of the draw.

    Returns:
        ``(S, U)`` bool, True where a unit stays; the first row keeps all.
    """
    if 2**segments <= samples:
        codes = torch.arange(2**segments - 1, -1, -1).unsqueeze(1)
        return codes.bitwise_right_shift(torch.arange(segments)).bitwise_and(1).bool()
    masks = torch.rand(samples, segments, generator=torch.Generator().manual_seed(seed)) < 0.5
    masks[0] = True
    return masks


def kernel(masks: Tensor, width: float = KERNEL_WIDTH) -> Tensor:
    """Weigh masks by their nearness to the unmasked example: ``sqrt(exp(-d^2 / width^2))``, d the cosine distance.

    Args:
        masks: ``(S, U)`` bool.
        width: Of the kernel.

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
        weights: ``(U, K)`` what a unit that stays adds to each of K responses.
        r2: ``(K,)`` leave-one-out R2: how much of an unseen mask's response the weights foretell, 1 at best; NaN where
            the response does not vary.
    """

    weights: Tensor
    r2: Tensor


def surrogate(
    masks: Tensor, responses: Tensor, *, width: float = KERNEL_WIDTH, alpha: float = ALPHA, floor: float = 0.0
) -> Surrogate:
    """Fit a linear surrogate with a free intercept to the responses of masked inputs.

    Weights are linear in the responses: those of a sum are the sum of the weights.

    Args:
        masks: ``(S, U)`` bool, True where a unit stayed.
        responses: ``(S, K)``.
        width: Of the kernel that weighs masks.
        alpha: Of the ridge penalty.
        floor: Spread of the responses that is rounding: of differences, what they were taken from tells.
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
    # Of a surrogate that leaves nothing open, rounding alone is left, and a leverage of 1 to divide it by.
    residual = residual.where(residual.abs() > EXACT * responses.abs().amax(0), 0.0)
    r2 = _leave_one_out(spread, residual, importance, leverage)
    varies = spread.abs().amax(0) > (ROUNDING * responses.abs().amax(0)).clamp(min=floor)
    return Surrogate(weights, torch.where(varies, r2, torch.nan))


def _leave_one_out(spread: Tensor, residual: Tensor, importance: Tensor, leverage: Tensor) -> Tensor:
    """Return ``1 - PRESS / PRESS of the mean alone``, both in closed form.

    In-sample R2 is .2 to .9 on pure noise, since there are few masks to a unit.
    """
    missed = (residual / (1 - leverage).clamp(min=1e-12).unsqueeze(1)).square()
    share = importance / importance.sum()
    missed_by_mean = (spread / (1 - share).clamp(min=1e-12).unsqueeze(1)).square()
    return 1 - (importance @ missed) / (importance @ missed_by_mean)
