"""Interactions of units, one pair at a time, close to the papers."""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import factorial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


Play: TypeAlias = Callable[[set[int], set[int]], float]
"""What stays of each modality -> the output."""

CORNERS = {
    1: [(1.0, True, True)],
    2: [(1 / 2, True, True), (1 / 2, False, False)],
    4: [(1 / 3, True, True), (1 / 3, False, False), (1 / 6, True, False), (1 / 6, False, True)],
}
"""Weight of each context, and whether the other units of each modality stay in it."""


def difference(play: Play, one: set[int], other: set[int], u: int, v: int) -> float:
    """f(A+u,B+v) - f(A+u,B) - f(A,B+v) + f(A,B)."""
    return play(one | {u}, other | {v}) - play(one | {u}, other) - play(one, other | {v}) + play(one, other)


def mixed_difference(play: Play, first: int, second: int, corners: int = 1) -> Array:
    """Return ``(U, V)`` the differences of each pair, averaged over the corners."""

    def of(u: int, v: int) -> float:
        one, other = set(range(first)) - {u}, set(range(second)) - {v}
        return sum(
            weight * difference(play, one if stays else set(), other if stay else set(), u, v)
            for weight, stays, stay in CORNERS[corners]
        )

    return np.array([[of(u, v) for v in range(second)] for u in range(first)])


def shapley_interaction_index(play: Play, first: int, second: int) -> Array:
    """Return ``(U, V)`` the index of Grabisch & Roubens (1999), by all sets of the other n - 2 units.

    ``I(u, v) = sum over S of |S|! (n - 2 - |S|)! / (n - 1)! (difference beside S)``.
    """
    n = first + second

    def of(u: int, v: int) -> float:
        others = [k for k in range(n) if k not in (u, first + v)]
        total = 0.0
        for size in range(n - 1):
            weight = factorial(size) * factorial(n - 2 - size) / factorial(n - 1)
            for chosen in combinations(others, size):
                one, other = {k for k in chosen if k < first}, {k - first for k in chosen if k >= first}
                total += weight * difference(play, one, other, u, v)
        return total

    return np.array([[of(u, v) for v in range(second)] for u in range(first)])


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
