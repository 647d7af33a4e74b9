"""What is said of fused features a second time: slow, in loops, exact where numbers can be counted."""

from collections.abc import Sequence
from fractions import Fraction
from math import comb, exp, log

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def at_least(hits: int, drawn: int, having: int, total: int) -> Fraction:
    """Probability of so many hits or more: draws are counted one by one."""
    possible = range(hits, min(drawn, having) + 1)
    favourable = sum(comb(having, k) * comb(total - having, drawn - k) for k in possible)
    return Fraction(favourable, comb(total, drawn))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """For each p the smallest level at which Benjamini and Hochberg's procedure rejects it."""
    levels = []
    for own in p:
        candidates = [1.0]
        for threshold in p:
            if threshold >= own:
                rank = sum(other <= threshold for other in p)
                candidates.append(threshold * len(p) / rank)
        levels.append(min(candidates))
    return levels


def effective_rank(matrix: Array) -> float:
    """Roy & Vetterli (2007), eq. 3, from the eigenvalues of the smaller Gram matrix."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    values = [float(np.sqrt(max(value, 0))) for value in np.linalg.eigvalsh(gram)]
    total = sum(values)
    return exp(-sum(value / total * log(value / total) for value in values if value > 1e-12 * total))


def main_effects(group: Array, tuples: npt.NDArray[np.int64]) -> Array:
    """Effects ``(M, g, F)`` by regressions of a group's rows ``(T, F)``, one for each modality.

    Dummies for its examples, and one for every combination of the other modalities.
    """
    size, modalities = int(tuples.max()) + 1, tuples.shape[1]
    effects = []
    for m in range(modalities):
        rest = [tuple(int(v) for k, v in enumerate(row) if k != m) for row in tuples]
        combinations = list(dict.fromkeys(rest))
        rows = [
            [*(float(row[m] == i) for i in range(size)), *(float(other == seen) for seen in combinations)]
            for row, other in zip(tuples, rest, strict=True)
        ]
        effect = np.linalg.lstsq(np.array(rows), group, rcond=None)[0][:size]
        effects.append(effect - effect.mean(0))
    return np.stack(effects)


def strongest(values: Sequence[float], count: int) -> list[int]:
    """The largest values' places, the first of equal ones first, none of the very lowest."""
    places = sorted(range(len(values)), key=lambda i: (-values[i], i))
    return [i for i in places if values[i] > min(values)][:count]


def classes(contributions: Array, live: Sequence[bool], threshold: float) -> list[int]:
    """The modality whose share reaches the threshold; M where none does, -1 for what does not vary."""
    found = []
    for shares, varies in zip(contributions, live, strict=True):
        reaching = [m for m, share in enumerate(shares) if share >= threshold]
        found.append(-1 if not varies else reaching[0] if reaching else len(shares))
    return found
