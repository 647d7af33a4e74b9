"""Losses of all pairs that call no loss function: every pair is a yes or a no, as SigLIP has it (Zhai et al. 2023)."""

from typing import Any

import torch
from torch import Tensor

PRODUCTS = {"mul", "multiply", "__mul__", "__rmul__"}
"""Operations that give each pair's score its sign."""


def scores_of_pairs(name: str, args: Any, count: int) -> tuple[Tensor, Tensor] | None:
    """Return ``(B, B)`` scores and ``(B,)`` numbers of the own partners if an operation signs the scores of all pairs.

    Args:
        name: Name of the operation.
        args: Its arguments.
        count: Number of examples, B.
    """
    if name not in PRODUCTS or len(args) != 2 or count < 2:
        return None
    if not all(isinstance(one, Tensor) and one.shape == (count, count) for one in args):
        return None
    for signs, scores in (args, args[::-1]):
        if _are_signs(signs):
            return scores, signs.argmax(1)
    return None


def _are_signs(values: Tensor) -> bool:
    """Tell whether a matrix is 1 on the diagonal and -1 elsewhere."""
    if type(values) is not Tensor or values.layout != torch.strided or values.is_meta:
        return False
    with torch.no_grad():
        return bool((values == 2 * torch.eye(len(values), device=values.device) - 1).all())
