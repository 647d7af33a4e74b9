"""Single fused features: the modality they follow, the directions they span, and the examples that activate them."""

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.rounding import ROUNDED, beyond_rounding

UNIMODAL = 0.8
"""Smallest first-order share of a feature that follows one modality. Below it, 20 % or more of the variance has other
sources, which is more than the error of shares with the default design (0.03 to 0.06)."""

DEAD = 1e-3
"""Largest deviation of a constant feature, as a fraction of the layer's root mean square deviation."""

CONSTANT = -1
"""Class of a constant feature."""

CHUNK = 256
"""Number of features whose components are computed at once; larger chunks take more memory and are not faster."""


def feature_components(features: Tensor, design: Design) -> Tensor:
    """Estimate the variance components of every feature separately: :meth:`Design.components` with each as one output.

    Args:
        features: ``(G, T, F)`` features of the design's T tuples in G groups.
        design: The tuples.

    Returns:
        ``(G, F, 2 + 2 M + P)`` components in float64.
    """
    return torch.stack([_group_components(group.double(), design) for group in features])


def _group_components(group: Tensor, design: Design) -> Tensor:
    return torch.cat([design.components(part.unsqueeze(-1)) for part in torch.split(group.T, CHUNK)])


def varies(features: Tensor) -> Tensor:
    """Return which features vary.

    Args:
        features: ``(R, F)`` in the number type of the model.

    Returns:
        ``(F,)`` bool, False if the deviation is rounding, or below :data:`DEAD` of the layer's deviation.
    """
    deviation = features.double().std(0, correction=0)
    return beyond_rounding(features) & (deviation > DEAD * deviation.square().mean().sqrt())


def classify_features(contributions: Tensor, live: Tensor) -> Tensor:
    """Return the modality that each feature follows, by its contribution shares (Sobol' indices).

    Args:
        contributions: ``(F, M)`` first-order shares.
        live: ``(F,)`` bool, whether the feature varies.

    Returns:
        ``(F,)`` long: the position of the modality whose share is 0.8 or more; M for multimodal features, where no
        share is; -1 for constant features.
    """
    largest, modality = contributions.max(-1)
    found = torch.where(largest >= UNIMODAL, modality, contributions.shape[-1])
    return torch.where(live, found, CONSTANT)


def main_effects(features: Tensor, tuples: Tensor) -> Tensor:
    """Estimate the main effect of each example's modality on the features: ``E[f | x_m] - E[f]`` (functional ANOVA).

    One effect per example is fitted by least squares to rows that differ in that modality only. The fit is exact for
    additive features, exactly 0 for modalities that a feature ignores, and unaffected by interactions of other
    modalities. In a full grid, main effects are row means and column means, less the grand mean.

    Args:
        features: ``(G, T, F)`` features of the design's T tuples in G groups.
        tuples: ``(T, M)`` positions inside the group: ``design.tuples``.

    Returns:
        ``(M, G * g, F)`` deviations from the group's mean, in float64.
    """
    values, effects = features.double(), []
    for modality in range(tuples.shape[1]):
        effect = _contrasts(tuples, modality) @ values
        effects.append((effect - effect.mean(1, keepdim=True)).flatten(0, 1))
    return torch.stack(effects)


def _contrasts(tuples: Tensor, modality: int) -> Tensor:
    """Return ``(g, T)`` weights of the rows in the effects of one modality."""
    others = torch.cat([tuples[:, :modality], tuples[:, modality + 1 :]], 1)
    same = functional.one_hot(torch.unique(others, dim=0, return_inverse=True)[1]).double()
    own = functional.one_hot(tuples[:, modality]).double()
    # Deviations from the mean of the rows that agree in all other modalities.
    weights: Tensor = torch.linalg.pinv(own - same @ (same.T @ own / same.sum(0)[:, None]))
    return weights


def effective_rank(matrix: Tensor, floor: float = 0.0) -> float:
    """Return the effective rank of a matrix (Roy & Vetterli 2007): ``exp(-sum_k p_k log p_k)``.

    ``p_k`` is singular value k as a fraction of their sum.

    Args:
        matrix: ``(R, F)``.
        floor: Singular values up to this size count as rounding and are left out.

    Returns:
        From 1 (all rows are multiples of one row) to ``min(R, F)`` (all directions are equally strong); 0 for a matrix
        of zeros.
    """
    values = torch.linalg.svdvals(matrix.double())
    values = values[values > floor]
    share = values / values.sum()
    return float((-share * share.log()).sum().exp()) if len(values) else 0.0


def rounding_floor(features: Tensor) -> float:
    """Return the largest singular value of ``(R, F)`` features that may be rounding."""
    rows, columns = features.shape
    error = torch.finfo(features.dtype).eps * float(features.double().abs().max())
    return ROUNDED * error * (math.sqrt(rows) + math.sqrt(columns))


def strongest_examples(values: Tensor, count: int, *, ties: bool = False) -> list[int]:
    """Return the examples with the largest values, up to ``count``; among equal values the first.

    Examples at the minimum are left out: examples for which a ReLU gives 0 have no order.

    Args:
        values: ``(N,)``, one per example.
        count: Number of examples, 1 or more.
        ties: Whether to add all examples equal to the last one. Without them, a data set sorted by class would favour
            its first class.
    """
    above = int((values > values.min()).sum())
    order = values.argsort(descending=True, stable=True)[:above]
    if ties and len(order) > count:
        return order[values[order] >= values[order[count - 1]]].tolist()
    return order[:count].tolist()


def overlap(left: Collection[int], right: Collection[int]) -> float:
    """Return the Jaccard index of two sets, intersection over union; 1 for two empty sets."""
    either = set(left) | set(right)
    return len(set(left) & set(right)) / len(either) if either else 1.0


def over_represented(hits: Sequence[int], drawn: int, having: Sequence[int], total: int) -> Tensor:
    """Test which traits are over-represented among selected examples (exact test, Fisher 1934).

    One-sided: ``p_k = P(X >= hits_k)``. X is hypergeometric: ``drawn`` of ``total`` examples are selected, and
    ``having_k`` of all have trait k.

    Args:
        hits: K counts of selected examples with trait k.
        drawn: Number of selected examples.
        having: K counts of examples with trait k among all examples.
        total: Number of all examples.

    Returns:
        ``(K,)`` p-values, float64.
    """
    from scipy.stats import hypergeom  # its import takes a second

    chance = hypergeom.sf(np.asarray(hits) - 1, total, np.asarray(having), drawn)
    return torch.as_tensor(np.asarray(chance), dtype=torch.float64).clamp(0, 1)


def benjamini_hochberg(p: Tensor) -> Tensor:
    """Return q-values: false discovery rates among all p-values as small or smaller (Benjamini & Hochberg 1995).

    ``q_(k) = min over j >= k of min(1, p_(j) K / j)``, with p-values in ascending order.

    Args:
        p: ``(K,)`` p-values.

    Returns:
        ``(K,)`` q-values, float64.
    """
    order = p.argsort(descending=True)
    rank = torch.arange(len(p), 0, -1, dtype=torch.float64)
    stepped = (p[order].double() * len(p) / rank).clamp(max=1)
    q = torch.empty_like(stepped)
    q[order] = stepped.cummin(0).values if len(p) else stepped
    return q
