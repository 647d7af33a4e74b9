"""Fused features one by one: what they respond to, how many directions they span, what makes them strong."""

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.variation import ROUNDED, beyond_rounding

UNIMODAL = 0.8
"""First-order share from which on a feature is called that of one modality. Below, a fifth or more of its variance
comes from elsewhere, more than the error of shares at the default design (.03 to .06)."""

DEAD = 1e-3
"""A feature is called constant whose deviation is below this part of the layer's root mean square deviation."""

CONSTANT = -1
"""Class of a feature that does not vary."""

CHUNK = 256
"""Features whose components are taken at once: more take more memory, and no less time."""


def feature_components(features: Tensor, design: Design) -> Tensor:
    """Split the variance of every feature by itself, as a design does for outputs.

    Args:
        features: ``(G, T, F)`` of the design's T tuples in G groups.
        design: Says which tuples.

    Returns:
        ``(G, F, 2 + 2 M + P)`` components in float64.
    """
    return torch.stack([_group_components(group.double(), design) for group in features])


def _group_components(group: Tensor, design: Design) -> Tensor:
    return torch.cat([design.components(part.unsqueeze(-1)) for part in torch.split(group.T, CHUNK)])


def varies(features: Tensor) -> Tensor:
    """Tell which features vary.

    Args:
        features: ``(R, F)`` in the type in which the model gave them.

    Returns:
        ``(F,)`` False where the deviation is nothing but rounding, or below :data:`DEAD` of the layer's own.
    """
    deviation = features.double().std(0, correction=0)
    return beyond_rounding(features) & (deviation > DEAD * deviation.square().mean().sqrt())


def classify_features(contributions: Tensor, live: Tensor) -> Tensor:
    """Tell which modality a feature follows.

    Args:
        contributions: ``(F, M)`` first-order shares.
        live: ``(F,)`` whether it varies.

    Returns:
        ``(F,)`` the modality whose share is :data:`UNIMODAL` or more; M where there is none, since then several
        modalities or their interaction count; :data:`CONSTANT` for what does not vary.
    """
    largest, modality = contributions.max(-1)
    found = torch.where(largest >= UNIMODAL, modality, contributions.shape[-1])
    return torch.where(live, found, CONSTANT)


def main_effects(features: Tensor, tuples: Tensor) -> Tensor:
    """Return what each example adds to the features by one modality alone.

    The least-squares fit of one effect for each example to rows that differ in that modality and in nothing else:
    exact for additive features, exactly zero for modalities that they ignore, and untouched by interactions of the
    others. In a full grid these are the means of rows and columns, less the grand mean.

    Args:
        features: ``(G, T, F)`` of the design's T tuples in G groups.
        tuples: ``(T, M)`` positions inside the group.

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
    # Deviations from the mean of the rows that agree in all else.
    weights: Tensor = torch.linalg.pinv(own - same @ (same.T @ own / same.sum(0)[:, None]))
    return weights


def effective_rank(matrix: Tensor, floor: float = 0.0) -> float:
    """Return how many directions a matrix spans: exp of its singular values' entropy (Roy & Vetterli 2007).

    Args:
        matrix: ``(R, F)``.
        floor: Singular values up to it are rounding.

    Returns:
        From 1, where all rows are multiples of one, to ``min(R, F)``, where all directions are equally strong; 0 for
        a matrix of zeros.
    """
    values = torch.linalg.svdvals(matrix.double())
    values = values[values > floor]
    share = values / values.sum()
    return float((-share * share.log()).sum().exp()) if len(values) else 0.0


def rounding_floor(features: Tensor) -> float:
    """Return the largest singular value that rounding of ``(R, F)`` features can feign."""
    rows, columns = features.shape
    error = torch.finfo(features.dtype).eps * float(features.double().abs().max())
    return ROUNDED * error * (math.sqrt(rows) + math.sqrt(columns))


def strongest_examples(values: Tensor, count: int, *, ties: bool = False) -> list[int]:
    """Return the examples with the largest of ``(N,)`` values, at most ``count``, the first where some are equal.

    Those at the very bottom are left out: where a rectifier gives zero, none is stronger than another.

    Args:
        values: One for each example.
        count: How many, one at the least.
        ties: Whether all that are as strong as the last one come along; the first of them would be of one class where
            examples are sorted.
    """
    above = int((values > values.min()).sum())
    order = values.argsort(descending=True, stable=True)[:above]
    if ties and len(order) > count:
        return order[values[order] >= values[order[count - 1]]].tolist()
    return order[:count].tolist()


def overlap(left: Collection[int], right: Collection[int]) -> float:
    """Return Jaccard's index of two sets: what they share, of all that is in either; 1 for two empty ones."""
    either = set(left) | set(right)
    return len(set(left) & set(right)) / len(either) if either else 1.0


def over_represented(hits: Sequence[int], drawn: int, having: Sequence[int], total: int) -> Tensor:
    """Return how probable so many hits or more are by chance (hypergeometric distribution).

    Args:
        hits: ``K`` counts: of the examples drawn, how many have trait k.
        drawn: How many were drawn.
        having: ``K`` counts: how many have it of all.
        total: Of all examples.

    Returns:
        ``(K,)`` p-values.
    """
    from scipy.stats import hypergeom  # which takes a second to import

    chance = hypergeom.sf(np.asarray(hits) - 1, total, np.asarray(having), drawn)
    return torch.as_tensor(np.asarray(chance), dtype=torch.float64).clamp(0, 1)


def benjamini_hochberg(p: Tensor) -> Tensor:
    """Return ``(K,)`` q-values of p-values: the share of false discoveries among all that are as small or smaller."""
    order = p.argsort(descending=True)
    rank = torch.arange(len(p), 0, -1, dtype=torch.float64)
    stepped = (p[order].double() * len(p) / rank).clamp(max=1)
    q = torch.empty_like(stepped)
    q[order] = stepped.cummin(0).values if len(p) else stepped
    return q
