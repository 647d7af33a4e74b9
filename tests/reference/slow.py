"""Every method a second time: slow, in loops, and as close to the papers' text as code can be.

Nothing here is shared with the package; everything takes and gives NumPy arrays in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations, product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

Array: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Responses: TypeAlias = Mapping[tuple[int, ...], Array]
"""Outputs ``(C,)`` by the example that each modality is taken from."""
Subsets: TypeAlias = dict[tuple[int, ...], float]
"""V_A by the modalities in A, in rising order."""


# -- Single predictions: DIME eq. 2-8, EMAP algorithm 1 ----------------------------------------------------------------


def emap(grid: Array) -> Array:
    """EMAP, algorithm 1: ``(N, N, C)`` -> ``(N, C)``, every example among its own donors."""
    n = len(grid)
    grand = sum(grid[i, j] for i in range(n) for j in range(n)) / n**2
    predictions = []
    for i in range(n):
        text = sum(grid[i, j] for j in range(n)) / n
        image = sum(grid[j, i] for j in range(n)) / n
        predictions.append(text + image - grand)
    return np.array(predictions)


def least_squares(grid: Array) -> Array:
    """The best additive approximation of a whole grid, ``(N, N, C)``: a regression on one-hot rows and columns."""
    n, _, outputs = grid.shape
    one_hot = np.eye(n)
    cells = np.array([[*one_hot[i], *one_hot[j]] for i in range(n) for j in range(n)])
    values = grid.reshape(n * n, outputs)
    weights = np.linalg.lstsq(cells, values, rcond=None)[0]
    return (cells @ weights).reshape(grid.shape)


def main_effects(values: Array, kept: Indices) -> Array:
    """Return ``(2, g)`` effects of rows and columns of the additive model that is nearest to the kept cells."""
    size, cells = len(values), np.argwhere(kept)
    design = np.zeros((len(cells), 1 + 2 * size))
    design[:, 0] = 1
    design[np.arange(len(cells)), 1 + cells[:, 0]] = 1
    design[np.arange(len(cells)), 1 + size + cells[:, 1]] = 1
    found = np.linalg.lstsq(design, values[kept], rcond=None)[0][1:].reshape(2, size)
    return found - found.mean(1, keepdims=True)


def unimodal_contribution(grid: Array) -> Array:
    """UC of every example, ``(N, N, C)`` -> ``(N, C)``, with donors other than itself."""
    n = len(grid)
    contributions = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        first = np.mean([grid[i, j] for j in others], axis=0)
        second = np.mean([grid[k, i] for k in others], axis=0)
        neither = np.mean([grid[k, j] for k in others for j in others if k != j], axis=0)
        contributions.append(first + second - neither)
    return np.array(contributions)


def multimodal_interaction(grid: Array) -> Array:
    """MI of every example, not as a remainder: the mean second difference against two others, ``(N, C)``."""
    n = len(grid)
    interactions = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        differences = [grid[i, i] - grid[i, j] - grid[k, i] + grid[k, j] for k in others for j in others if k != j]
        interactions.append(np.mean(differences, axis=0))
    return np.array(interactions)


# -- Variance components over a grid -----------------------------------------------------------------------------------


def two_way_components(grid: Array) -> Array:
    """Two-way ANOVA without replication on ``(k, l, C)``: V_1, V_2 and V_12, summed over the outputs."""
    k, m = grid.shape[:2]
    components = np.zeros(3)
    for values in np.moveaxis(grid, -1, 0):
        grand = values.mean()
        rows = [values[i].mean() for i in range(k)]
        columns = [values[:, j].mean() for j in range(m)]
        residual = 0.0
        for i in range(k):
            for j in range(m):
                residual += (values[i, j] - rows[i] - columns[j] + grand) ** 2
        interaction = residual / ((k - 1) * (m - 1))
        first = [
            sum((mean - grand) ** 2 for mean in means) / (len(means) - 1) - interaction / across
            for means, across in ((rows, m), (columns, k))
        ]
        components += [*first, interaction]
    return components


def split_components(grid: Array, splits: Indices, without: int = -1) -> Array:
    """ANOVA on P x Q and on Q x P, averaged over the half-splits ``(S, 2, k)`` of a ``(g, g, C)`` grid.

    An example ``without`` is in no half.
    """
    found = []
    for one, other in splits:
        for rows, columns in ((one, other), (other, one)):
            block = np.array([[grid[i, j] for j in columns if j != without] for i in rows if i != without])
            found.append(two_way_components(block))
    return np.mean(found, axis=0)


# -- The independent truth: every expectation enumerated over a small discrete product space ---------------------------


def subsets(modalities: int) -> list[tuple[int, ...]]:
    """All subsets of the modalities, the empty one first."""
    return list(chain.from_iterable(combinations(range(modalities), size) for size in range(modalities + 1)))


def conditional_mean(table: Array, marginals: Array, kept: Sequence[int], levels: Sequence[int]) -> Array:
    """``E[f | x_A = levels_A]`` over the product of the marginals, ``(C,)``.

    Args:
        table: ``(L, ..., L, C)`` outputs by the level of each modality.
        marginals: ``(M, L)`` probabilities of the levels.
        kept: The modalities A that are held.
        levels: Of all modalities; those outside A are ignored.
    """
    modalities, count = marginals.shape
    mean = np.zeros(table.shape[-1])
    for cell in product(range(count), repeat=modalities):
        if any(cell[m] != levels[m] for m in kept):
            continue
        mean += np.prod([marginals[m, cell[m]] for m in range(modalities) if m not in kept]) * table[cell]
    return mean


def closed_variance(table: Array, marginals: Array, kept: Sequence[int]) -> float:
    """``Var E[f | x_A]``, summed over the outputs."""
    modalities, count = marginals.shape
    grand = conditional_mean(table, marginals, (), (0,) * modalities)
    variance = 0.0
    for levels in product(range(count), repeat=len(kept)):
        cell = dict(zip(kept, levels, strict=True))
        weight = np.prod([marginals[m, level] for m, level in cell.items()])
        mean = conditional_mean(table, marginals, kept, [cell.get(m, 0) for m in range(modalities)])
        variance += weight * float(((mean - grand) ** 2).sum())
    return variance


def sobol(table: Array, marginals: Array) -> Subsets:
    """V_A of all 2^M subsets: the variance of ``E[f | x_A]`` less what the smaller subsets explain."""
    components: Subsets = {}
    for subset in subsets(len(marginals)):
        smaller = sum(value for other, value in components.items() if set(other) < set(subset))
        components[subset] = closed_variance(table, marginals, subset) - smaller
    return components


def design_components(variances: Subsets, modalities: int, pairs: Sequence[tuple[int, int]]) -> Array:
    """V_A in the order of a design's components: Var f, first orders, totals, pairs, all interactions."""
    alone = [variances[(m,)] for m in range(modalities)]
    total = [sum(value for subset, value in variances.items() if m in subset) for m in range(modalities)]
    both = [variances[pair] for pair in pairs]
    interaction = sum(value for subset, value in variances.items() if len(subset) > 1)
    return np.array([sum(variances.values()), *alone, *total, *both, interaction])


def unimodal_truth(table: Array, marginals: Array, levels: Sequence[int]) -> Array:
    """``sum_m E[f | x_m] - (M - 1) E[f]`` of one example, ``(C,)``."""
    modalities = len(marginals)
    alone = sum(conditional_mean(table, marginals, (m,), levels) for m in range(modalities))
    return alone - (modalities - 1) * conditional_mean(table, marginals, (), levels)


# -- Tuples ------------------------------------------------------------------------------------------------------------


def bases(tuples: Indices, size: int, draws: int) -> tuple[Indices, Indices]:
    """The base tuples u and donor tuples v that a tuple design lists first, each ``(draws, g, M)``."""
    u, v = tuples[: 2 * draws * size].reshape(2, draws, size, -1)
    return u, v


def mixed(u: Indices, v: Indices, from_v: Sequence[int]) -> tuple[int, ...]:
    """The tuple u with some modalities taken from v."""
    return tuple(int(v[m]) if m in from_v else int(u[m]) for m in range(len(u)))


def additive_fit(tuples: Indices, values: Array, size: int) -> Array:
    """The additive model that is nearest to ``(T, C)`` values of tuples, at every real example: ``(g, C)``."""
    one_hot = np.eye(size)
    cells = np.array([np.concatenate([[1.0], *(one_hot[k] for k in row)]) for row in tuples])
    weights = np.linalg.lstsq(cells, values, rcond=None)[0]
    examples = np.array(
        [np.concatenate([[1.0], *(one_hot[i] for _ in row)]) for i in range(size) for row in tuples[:1]]
    )
    return examples @ weights


def centre(answers: Responses, pool: Indices, examples: Sequence[int], shared: int) -> Array:
    """The mean output of the tuples that hold at most ``shared`` of the examples, ``(C,)``."""
    held = [sum(int(example in examples) for example in candidate) for candidate in pool]
    allowed = [candidate for candidate, count in zip(pool, held, strict=True) if count <= shared]
    return np.mean([answers[tuple(candidate.tolist())] for candidate in allowed], axis=0)


def tuple_components(
    answers: Responses,
    u: Indices,
    v: Indices,
    pairs: Sequence[tuple[int, int]],
    *,
    centred: bool = True,
    without: int = -1,
) -> Array:
    """Jansen's totals and Saltelli's first orders on base and donor tuples ``(draws, g, M)`` of one group.

    Means are over the pairs of tuples that do not hold the example ``without``.
    """
    modalities = u.shape[-1]
    pool = np.concatenate([u.reshape(-1, modalities), v.reshape(-1, modalities)])
    everything = range(modalities)
    found = []
    for base, donor in zip(u.reshape(-1, modalities), v.reshape(-1, modalities), strict=True):
        if without in (*base, *donor):
            continue
        f_u, f_v = answers[tuple(base.tolist())], answers[tuple(donor.tolist())]
        swaps = [answers[mixed(base, donor, [m])] for m in everything]
        variance = ((f_u - f_v) ** 2).sum() / 2
        total = [((f_u - swap) ** 2).sum() / 2 for swap in swaps]
        first = []
        for m in everything:
            middle = centre(answers, pool, [base[m], donor[m]], 0) if centred else 0.0
            first.append(((f_v - middle) * (swaps[m] - f_u)).sum())
        unexplained = f_v - f_u - sum(swap - f_u for swap in swaps)
        middle = centre(answers, pool, [*base, *donor], 1) if centred else 0.0
        interaction = ((f_v - middle) * unexplained).sum()
        both = []
        for a, b in pairs:
            shared = answers[mixed(base, donor, [m for m in everything if m not in (a, b)])]
            both.append(variance - ((f_u - shared) ** 2).sum() / 2 - first[a] - first[b])
        found.append([variance, *first, *total, *both, interaction])
    return np.mean(found, axis=0)


# -- Shares and intervals ----------------------------------------------------------------------------------------------


def share_ratios(components: Array, modalities: int) -> Array:
    """First orders and interactions over their sum, totals and pairs over the variance; ``(S,)`` -> ``(S - 1,)``."""
    variance, first, interaction = components[0], components[1 : 1 + modalities], components[-1]
    parts = sum(first) + interaction
    if variance <= 0 or parts <= 0:
        return np.zeros(len(components) - 1)
    rest = [value / variance for value in components[1 + modalities : -1]]
    return np.array([*(value / parts for value in first), *rest, interaction / parts])


def jackknife(groups: Array, statistic: Callable[[Array], Array], level: float = 0.95) -> tuple[Array, Array, Array]:
    """Delete one group at a time: the estimate and its bounds, each ``(K,)``."""
    count = len(groups)
    estimate = statistic(groups.mean(0))
    deleted = [statistic(np.mean([groups[h] for h in range(count) if h != g], axis=0)) for g in range(count)]
    middle = np.mean(deleted, axis=0)
    variance = (count - 1) / count * sum((value - middle) ** 2 for value in deleted)
    half = np.sqrt(variance) * stats.t.ppf((1 + level) / 2, count - 1)
    return estimate, estimate - half, estimate + half


def least_half_width(
    groups: Array, deleted: Array, inflation: float, statistic: Callable[[Array], Array], level: float = 0.95
) -> Array:
    """The half-width from deleting one example at a time, ``(K,)``: ``deleted`` is ``(G, g, S)``."""
    count, size = deleted.shape[:2]
    squares = []
    for group in range(count):
        found = []
        for example in range(size):
            changed = [deleted[group, example] if h == group else groups[h] for h in range(count)]
            found.append(statistic(np.mean(changed, axis=0)))
        squares += [(value - np.mean(found, axis=0)) ** 2 for value in found]
    total, fourth = np.sum(squares, axis=0), np.sum(np.square(squares), axis=0)
    freedom = np.maximum(total**2 / fourth, count - 1)
    return np.sqrt((size - 1) / size * total / inflation) * stats.t.ppf((1 + level) / 2, freedom)


# -- Scores ------------------------------------------------------------------------------------------------------------


def accuracy(logits: Sequence[Array], target: Sequence[int]) -> float:
    """The share of ``(C,)`` logits whose largest is the target's."""
    hits = [int(np.argmax(values)) == int(label) for values, label in zip(logits, target, strict=True)]
    return sum(hits) / len(hits)


def emap_score(grids: Array, targets: Indices) -> float:
    """The accuracy of UC alone over ``(G, g, g, C)`` grids and ``(G, g)`` targets."""
    logits = [uc for grid in grids for uc in unimodal_contribution(grid)]
    return accuracy(logits, targets.ravel().tolist())


def extrapolated_emap_score(grids: Array, targets: Indices, halves: Sequence[Sequence[int]]) -> float:
    """Twice the accuracy of UC, less that of UC from half of the donors, on average over the halves."""
    found = []
    for half in halves:
        for grid, target in zip(grids, targets, strict=True):
            for i in range(len(grid)):
                kept = [i, *(k for k in half if k != i)]
                uc = unimodal_contribution(grid[np.ix_(kept, kept)])[0]
                found.append(int(np.argmax(uc)) == int(target[i]))
    return 2 * emap_score(grids, targets) - sum(found) / len(found)


def perceptual_score(grids: Array, targets: Indices, modality: int) -> float:
    """The accuracy of the real pairs, less that with one modality from every other example of the group."""
    real, swapped, real_target, swapped_target = [], [], [], []
    for grid, target in zip(grids, targets, strict=True):
        for i in range(len(grid)):
            real.append(grid[i, i])
            real_target.append(target[i])
            for j in range(len(grid)):
                if j != i:
                    swapped.append(grid[j, i] if modality == 0 else grid[i, j])
                    swapped_target.append(target[i])
    return accuracy(real, real_target) - accuracy(swapped, swapped_target)


# -- Local surrogates: LIME with DIME's settings -----------------------------------------------------------------------


def every_mask(segments: int) -> Array:
    """All ways of keeping units, ``(2^U, U)`` ones and zeros, the one that keeps all first."""
    return np.array(list(product((1.0, 0.0), repeat=segments))).reshape(2**segments, segments)


def mask_weights(masks: Array, width: float = 0.25) -> Array:
    """``sqrt(exp(-d^2 / width^2))`` of masks ``(S, U)``, d the cosine distance to the mask that keeps all."""
    weights = []
    for mask in masks:
        lengths = np.sqrt((mask**2).sum()) * np.sqrt(len(mask))
        distance = 1 - (mask.sum() / lengths if lengths > 0 else float(len(mask) == 0))
        weights.append(np.sqrt(np.exp(-(distance**2) / width**2)))
    return np.array(weights)


def weighted_ridge(masks: Array, responses: Array, weights: Array, alpha: float = 1.0) -> tuple[float, Array]:
    """The intercept, which goes unpunished, and ``(U,)`` slopes that solve the normal equations for ``(S,)``."""
    count, segments = masks.shape
    left, right = np.zeros((1 + segments, 1 + segments)), np.zeros(1 + segments)
    for s in range(count):
        row = np.array([1.0, *masks[s]])
        left += weights[s] * np.outer(row, row)
        right += weights[s] * row * responses[s]
    for unit in range(segments):
        left[1 + unit, 1 + unit] += alpha
    solution = np.linalg.solve(left, right)
    return float(solution[0]), solution[1:]


def leave_one_out_r2(masks: Array, responses: Array, weights: Array, alpha: float = 1.0) -> float:
    """How much better the other masks foretell each mask's response by their surrogate than by their mean."""
    missed = missed_by_mean = 0.0
    for s in range(len(masks)):
        others = [other for other in range(len(masks)) if other != s]
        intercept, slopes = weighted_ridge(masks[others], responses[others], weights[others], alpha)
        mean = float(np.average(responses[others], weights=weights[others]))
        missed += weights[s] * (responses[s] - intercept - masks[s] @ slopes) ** 2
        missed_by_mean += weights[s] * (responses[s] - mean) ** 2
    return 1 - missed / missed_by_mean


def dime(
    model: Callable[[Sequence[Array]], Array],
    own: Sequence[Array],
    donors: Sequence[Sequence[Array]],
    masked: tuple[int, Sequence[Array]],
    masks: Array,
    alpha: float = 1.0,
) -> tuple[Array, Array]:
    """UC and MI of the units of one modality, ``(U, C)`` each, with a forward for each mask and donor.

    Args:
        model: From one input of every modality to ``(C,)``.
        own: The example's inputs.
        donors: Of each row the inputs; that of the masked modality is not used.
        masked: Which modality, and its input under each mask.
        masks: ``(S, U)`` ones where a unit stayed.
        alpha: Of the ridge penalty.
    """
    modality, inputs = masked

    def beside(partner: Sequence[Array], value: Array) -> Array:
        return model([value if m == modality else partner[m] for m in range(len(partner))])

    alone = np.array([np.mean([beside(donor, value) for donor in donors], axis=0) for value in inputs])
    together = np.array([beside(own, value) for value in inputs]) - alone
    weights = mask_weights(masks)
    unimodal, interaction = (
        np.stack([weighted_ridge(masks, column, weights, alpha)[1] for column in responses.T], 1)
        for responses in (alone, together)
    )
    return unimodal, interaction
