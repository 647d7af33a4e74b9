"""Measures of coalitions a second time: every subset, donor and order in a loop, in NumPy, close to the papers."""

import math
from collections.abc import Sequence
from itertools import chain, combinations, permutations

import numpy as np
import numpy.typing as npt
from reference.importance import Game, shapley_of_subsets

Array = npt.NDArray[np.float64]


def subsets(players: Sequence[int]) -> list[tuple[int, ...]]:
    """All subsets, the empty one first."""
    return list(chain.from_iterable(combinations(players, size) for size in range(len(players) + 1)))


def code(coalition: Sequence[int]) -> int:
    """The place of a coalition in the order of the package."""
    return sum(2**player for player in coalition)


def interaction_matrix(game: Game, players: int) -> Array:
    """InterSHAP's matrix: phi_ij by its sum over all S without i and j, phi_ii as what is left of phi_i."""
    matrix = np.zeros((players, players))
    for i in range(players):
        for j in range(players):
            if i == j:
                continue
            for chosen in subsets([other for other in range(players) if other not in (i, j)]):
                size, rest = len(chosen), frozenset(chosen)
                weight = math.factorial(size) * math.factorial(players - size - 2) / (2 * math.factorial(players - 1))
                matrix[i, j] += weight * (game(rest | {i, j}) - game(rest | {i}) - game(rest | {j}) + game(rest))
    shapley = shapley_of_subsets(game, players)
    for i in range(players):
        matrix[i, i] = shapley[i] - sum(matrix[i, j] for j in range(players) if j != i)
    return matrix


def intershap(matrix: Array) -> float:
    """The share of the entries off the diagonal in the absolute sum of all."""
    total, between = 0.0, 0.0
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            total += abs(value)
            between += abs(value) * (i != j)
    return between / total if total else 0.0


def grid_value(grid: Array, example: int, coalition: Sequence[int]) -> Array:
    """``(C,)`` the value of a coalition of two modalities for one example of a ``(g, g, C)`` grid."""
    others = [other for other in range(len(grid)) if other != example]
    if set(coalition) == {0, 1}:
        return grid[example, example]
    if set(coalition) == {0}:
        return np.mean([grid[example, j] for j in others], axis=0)
    if set(coalition) == {1}:
        return np.mean([grid[j, example] for j in others], axis=0)
    return np.mean([grid[j, k] for j in others for k in others if j != k], axis=0)


def expected_value(table: Array, marginals: Array, levels: Sequence[int], coalition: Sequence[int]) -> Array:
    """``(C,)`` E[f | x_S] over the product of the marginals: the modalities outside S one level after the other."""
    total = np.zeros(table.shape[-1])
    for cell in np.ndindex(*table.shape[:-1]):
        if all(cell[m] == levels[m] for m in coalition):
            outside = [m for m in range(len(levels)) if m not in coalition]
            total += table[cell] * np.prod([marginals[m, cell[m]] for m in outside])
    return total


def softmax(logits: Array) -> Array:
    """Softmax of one row."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def global_intershap(grids: Array) -> float:
    """The published score of ``(G, g, g, C)`` logits: absolute values of the mean matrix, for each predicted class."""
    matrices = []
    for logits in grids:
        grid = np.apply_along_axis(softmax, -1, logits)
        for example in range(len(grid)):
            predicted = int(grid[example, example].argmax())
            matrices.append(
                interaction_matrix(lambda s, e=example, c=predicted, g=grid: float(grid_value(g, e, sorted(s))[c]), 2)
            )
    return intershap(np.mean(matrices, axis=0))


def shapley_shares(grids: Array) -> Array:
    """Shares of mean absolute Shapley values of ``(G, g, g, C)`` logits, centred, for each predicted class."""
    sizes = []
    for logits in grids:
        grid = logits - logits.mean(-1, keepdims=True)
        for example in range(len(grid)):
            predicted = int(grid[example, example].argmax())
            game = lambda s, e=example, c=predicted, g=grid: float(grid_value(g, e, sorted(s))[c])
            sizes.append(np.abs(shapley_of_subsets(game, 2)))
    mean = np.mean(sizes, axis=0)
    return mean / mean.sum()


def gains_of_orders(game: Game, players: int) -> dict[tuple[int, ...], Array]:
    """What each player adds when it joins, by order."""
    found = {}
    for order in permutations(range(players)):
        there: frozenset[int] = frozenset()
        gains = np.zeros(players)
        for player in order:
            gains[player] = game(there | {player}) - game(there)
            there |= {player}
        found[order] = gains
    return found
