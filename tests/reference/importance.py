"""What units add, a second time: one subset, one entry, one order at a time, in NumPy."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Game = Callable[[frozenset[int]], float]
"""What the output is where only these units stay."""


def segment_sums(entries: Array, index: npt.NDArray[np.int64], segments: int) -> Array:
    """Sum up what belongs to each unit, entry by entry; both ``(R, ...)``."""
    sums = np.zeros((len(entries), segments))
    for row, (values, places) in enumerate(zip(entries, index, strict=True)):
        for value, unit in zip(values.ravel(), places.ravel(), strict=True):
            if unit >= 0:
                sums[row, unit] += value
    return sums


def shapley_of_subsets(game: Game, segments: int) -> Array:
    """Shapley's formula: what a unit adds to every set of others, weighed by the set's size."""
    values = []
    for unit in range(segments):
        others = [other for other in range(segments) if other != unit]
        value = 0.0
        for size in range(segments):
            weight = math.factorial(size) * math.factorial(segments - size - 1) / math.factorial(segments)
            for chosen in combinations(others, size):
                value += weight * (game(frozenset({*chosen, unit})) - game(frozenset(chosen)))
        values.append(value)
    return np.array(values)


def shapley_of_orders(game: Game, segments: int) -> Array:
    """What a unit adds when it comes in, averaged over all orders in which units may come."""
    values = np.zeros(segments)
    for order in permutations(range(segments)):
        there: frozenset[int] = frozenset()
        for unit in order:
            values[unit] += game(there | {unit}) - game(there)
            there |= {unit}
    return values / math.factorial(segments)


def constrained_least_squares(masks: Array, weights: Array, gains: Array, change: float) -> Array:
    """Minimise ``sum_s w_s (gain_s - mask_s . phi)^2`` under ``sum phi = change``, by Lagrange's conditions.

    Args:
        masks: ``(S, U)`` ones where a unit stayed.
        weights: ``(S,)``.
        gains: ``(S,)`` outputs, less that without any unit.
        change: Of the output with all units.
    """
    segments = masks.shape[1]
    left, right = np.zeros((segments + 1, segments + 1)), np.zeros(segments + 1)
    for mask, weight, gain in zip(masks, weights, gains, strict=True):
        left[:segments, :segments] += 2 * weight * np.outer(mask, mask)
        right[:segments] += 2 * weight * gain * mask
    left[:segments, segments] = left[segments, :segments] = 1
    right[segments] = change
    return np.linalg.solve(left, right)[:segments]


def played(game: Game, masks: Sequence[Sequence[bool]]) -> Array:
    """What a game gives for every mask."""
    return np.array([game(frozenset(unit for unit, stays in enumerate(mask) if stays)) for mask in masks])


def occluded(game: Game, segments: int) -> Array:
    """What is lost where a unit is masked alone."""
    everything = frozenset(range(segments))
    return np.array([game(everything) - game(everything - {unit}) for unit in range(segments)])
