"""Interactions of segments of two modalities: mixed differences of an output, averaged over the other segments."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Corners: TypeAlias = Literal[1, 2, 4]
"""Number of contexts (presence of the other segments) over which mixed differences are averaged."""

CONTEXTS = ((True, True), (False, False), (True, False), (False, True))
"""Whether the other segments of the first and of the second modality are present; ``corners=k`` takes the first k."""

WEIGHTS: dict[int, tuple[float, ...]] = {1: (1.0,), 2: (1 / 2, 1 / 2), 4: (1 / 3, 1 / 3, 1 / 6, 1 / 6)}
"""Number of corners -> weight of each. The weights are integrals over 0 <= p <= 1. Two corners: of p and 1 - p. Four
corners: of p^2, (1 - p)^2, and p (1 - p) twice."""


def pair_masks(first: int, second: int, corners: Corners = 2) -> tuple[Tensor, Tensor]:
    """Return the masks for :func:`mixed_differences`, True where a segment stays.

    Args:
        first: Segments of the first modality, U.
        second: Segments of the second modality, V.
        corners: Number of contexts, K.

    Returns:
        ``(K * (1 + U) * (1 + V), U)`` and ``(K * (1 + U) * (1 + V), V)``: in each context, up to one of the U segments
        and up to one of the V segments change. Some rows are equal if a modality has one or two segments.
    """
    contexts = CONTEXTS[:corners]
    one = [_one_by_one(first, present=present).repeat_interleave(1 + second, 0) for present, _ in contexts]
    other = [_one_by_one(second, present=present).repeat(1 + first, 1) for _, present in contexts]
    return torch.cat(one), torch.cat(other)


def _one_by_one(segments: int, *, present: bool) -> Tensor:
    """Return ``(1 + U, U)``: all segments masked, then each alone present; or all present, then each alone masked."""
    alone = torch.cat([torch.zeros(1, segments), torch.eye(segments)]).bool()
    return ~alone if present else alone


def mixed_differences(outputs: Tensor, first: int, second: int, corners: Corners = 2) -> Tensor:
    """Return the pairwise interactions of segments of two modalities (second-order mixed differences).

    ``f(u, v) - f(v) - f(u) + f()``, where u and v are present or masked: the discrete derivative of Grabisch & Roubens
    (1999), and MultiViz's second-order interaction (Liang et al. 2023, section 3.2) as a finite difference. It depends
    on which other segments are present. The Shapley interaction index (Grabisch & Roubens 1999) averages it over all
    sets of other segments. Equivalently, each other segment is present with probability p, averaged over p from 0 to 1
    (Owen 1972).

    - 1 corner: all other segments are present, as in the unmasked input.
    - 2 corners: the mean of two differences, with all other segments present and with all masked (the trapezoid rule
      for the index). Equal to the index if f has interactions of up to three segments.
    - 4 corners: also the differences with the other segments of only one modality present. Equal to the index if f has
      interactions of up to two segments of each modality.

    All are 0 if f is additive over the two modalities, and ``x_u W_uv x_v`` if f is bilinear and masked segments are 0.

    Args:
        outputs: ``(K * (1 + U) * (1 + V), C)`` outputs for the masks of :func:`pair_masks`.
        first: Segments of the first modality, U.
        second: Segments of the second modality, V.
        corners: Number of contexts, K, as for the masks.

    Returns:
        ``(U, V, C)`` in float64.
    """
    found = outputs.double().view(corners, 1 + first, 1 + second, -1)
    differences = found[:, :1, :1] - found[:, 1:, :1] - found[:, :1, 1:] + found[:, 1:, 1:]
    # In a mixed context, one segment is removed and the other added, so the sign changes.
    signs = [1 if one == other else -1 for one, other in CONTEXTS[:corners]]
    weights = [sign * weight for sign, weight in zip(signs, WEIGHTS[corners], strict=True)]
    return torch.einsum("k,kuvc->uvc", found.new_tensor(weights), differences)
