"""How units of two modalities act together: mixed differences of an output."""

import torch
from torch import Tensor


def pair_masks(first: int, second: int) -> tuple[Tensor, Tensor]:
    """Return the masks whose outputs :func:`mixed_differences` takes, True where a unit stays.

    Args:
        first: U, units of one modality.
        second: V, of the other.

    Returns:
        ``((1 + U) * (1 + V), U)`` and ``((1 + U) * (1 + V), V)``: none or one of U masked, with none or one of V.
    """
    return _one_by_one(first).repeat_interleave(1 + second, 0), _one_by_one(second).repeat(1 + first, 1)


def _one_by_one(segments: int) -> Tensor:
    return torch.cat([torch.ones(1, segments, dtype=torch.bool), ~torch.eye(segments, dtype=torch.bool)])


def mixed_differences(outputs: Tensor, first: int, second: int) -> Tensor:
    """Return what each two units add together, beyond what each adds by itself, where all others are there.

    ``f(x) - f(x without u) - f(x without v) + f(x without both)``: 0 where f adds up what the modalities say, and
    ``x_u W_uv x_v`` where it is bilinear.

    Args:
        outputs: ``((1 + U) * (1 + V), K)`` answers to :func:`pair_masks`.
        first: U.
        second: V.

    Returns:
        ``(U, V, K)`` in float64.
    """
    found = outputs.double().view(1 + first, 1 + second, -1)
    return found[:1, :1] - found[1:, :1] - found[:1, 1:] + found[1:, 1:]
