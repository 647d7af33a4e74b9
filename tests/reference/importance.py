"""What units add, a second time: one subset, one entry, one order at a time, in NumPy."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Game = Callable[[frozenset[int]], float]
"""What the output is where only these units stay."""


def unit_sums(entries: Array, index: npt.NDArray[np.int64], units: int) -> Array:
    """Sum up what belongs to each unit, entry by entry; both ``(R, ...)``."""
    sums = np.zeros((len(entries), units))
    for row, (values, places) in enumerate(zip(entries, index, strict=True)):
        for value, unit in zip(values.ravel(), places.ravel(), strict=True):
            if unit >= 0:
                sums[row, unit] += value
    return sums


def shapley_of_subsets(game: Game, units: int) -> Array:
    """Shapley's formula: what a unit adds to every set of others, weighed by the set's size."""
    values = []
    for unit in range(units):
        others = [other for other in range(units) if other != unit]
        value = 0.0
        for size in range(units):
            weight = math.factorial(size) * math.factorial(units - size - 1) / math.factorial(units)
            for chosen in combinations(others, size):
                value += weight * (game(frozenset({*chosen, unit})) - game(frozenset(chosen)))
        values.append(value)
    return np.array(values)


def shapley_of_orders(game: Game, units: int) -> Array:
    """What a unit adds when it comes in, averaged over all orders in which units may come."""
    values = np.zeros(units)
    for order in permutations(range(units)):
        there: frozenset[int] = frozenset()
        for unit in order:
            values[unit] += game(there | {unit}) - game(there)
            there |= {unit}
    return values / math.factorial(units)


def constrained_least_squares(masks: Array, weights: Array, gains: Array, change: float) -> Array:
    """Minimise ``sum_s w_s (gain_s - mask_s . phi)^2`` under ``sum phi = change``, by Lagrange's conditions.

    Args:
        masks: ``(S, U)`` ones where a unit stayed.
        weights: ``(S,)``.
        gains: ``(S,)`` outputs, less that without any unit.
        change: Of the output with all units.
    """
    units = masks.shape[1]
    left, right = np.zeros((units + 1, units + 1)), np.zeros(units + 1)
    for mask, weight, gain in zip(masks, weights, gains, strict=True):
        left[:units, :units] += 2 * weight * np.outer(mask, mask)
        right[:units] += 2 * weight * gain * mask
    left[:units, units] = left[units, :units] = 1
    right[units] = change
    return np.linalg.solve(left, right)[:units]


def played(game: Game, masks: Sequence[Sequence[bool]]) -> Array:
    """What a game gives for every mask."""
    return np.array([game(frozenset(unit for unit, stays in enumerate(mask) if stays)) for mask in masks])


def occluded(game: Game, units: int) -> Array:
    """What is lost where a unit is masked alone."""
    everything = frozenset(range(units))
    return np.array([game(everything) - game(everything - {unit}) for unit in range(units)])
