"""How segments of two modalities act together: mixed differences of an output."""

import torch
from torch import Tensor


def pair_masks(first: int, second: int) -> tuple[Tensor, Tensor]:
    """Return the masks for :func:`mixed_differences`, True where a segment stays.

    Args:
        first: Segments of the first modality, U.
        second: Segments of the second modality, V.

    Returns:
        ``((1 + U) * (1 + V), U)`` and ``((1 + U) * (1 + V), V)``: none or one of U masked, with none or one of V.
    """
    return _one_by_one(first).repeat_interleave(1 + second, 0), _one_by_one(second).repeat(1 + first, 1)


def _one_by_one(segments: int) -> Tensor:
    return torch.cat([torch.ones(1, segments, dtype=torch.bool), ~torch.eye(segments, dtype=torch.bool)])


def mixed_differences(outputs: Tensor, first: int, second: int) -> Tensor:
    """Return the pairwise interactions of segments of two modalities (second-order mixed differences).

    ``f(x) - f(x without u) - f(x without v) + f(x without both)``, with all other segments present: the discrete
    derivative of Grabisch & Roubens (1999) at the full coalition, and MultiViz's second-order interaction
    (Liang et al. 2023, section 3.2) as a finite difference. It is 0 if f is additive over the two modalities, and
    ``x_u W_uv x_v`` if f is bilinear and masked segments are 0.

    Args:
        outputs: ``((1 + U) * (1 + V), K)`` outputs for the masks of :func:`pair_masks`.
        first: Segments of the first modality, U.
        second: Segments of the second modality, V.

    Returns:
        ``(U, V, K)`` in float64.
    """
    found = outputs.double().view(1 + first, 1 + second, -1)
    return found[:1, :1] - found[1:, :1] - found[:1, 1:] + found[1:, 1:]
