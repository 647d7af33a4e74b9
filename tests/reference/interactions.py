"""Interactions of units, one pair at a time, close to the papers."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


def mixed_difference(play: Callable[[set[int], set[int]], float], first: int, second: int) -> Array:
    """Return ``(U, V)``: f(A,B) - f(A-u,B) - f(A,B-v) + f(A-u,B-v), f given what stays of each modality."""
    one, other = set(range(first)), set(range(second))
    return np.array(
        [
            [
                play(one, other) - play(one - {u}, other) - play(one, other - {v}) + play(one - {u}, other - {v})
                for v in range(second)
            ]
            for u in range(first)
        ]
    )


def multiviz(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, segments: Sequence[Sequence[int]]
) -> tuple[Array, Array]:
    """Return MultiViz's map of every unit of x, ``(U, len(y))``, and ``(U,)`` the signs of the units' importance.

    The importance of a unit is ``|sum x_e df/dx_e|`` over its entries; its map is the gradient of that by y, times y.
    One unit at a time, for scalars ``function(x, y)`` of vectors, whose baselines are 0.
    """
    maps, signs = [], []
    for unit in segments:
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(a, b), a, create_graph=True)
        importance = sum(x[e] * slope[e] for e in unit)
        (found,) = torch.autograd.grad(importance.abs(), b)
        maps.append((found * y).numpy())
        signs.append(float(importance.detach().sign()))
    return np.stack(maps), np.array(signs)
