"""Retrieval within groups: one modality of an example is the query; the group's other modalities are candidates."""

from typing import NamedTuple

import torch
from torch import Tensor

from mviz_lightning.functional.jackknife import jackknife
from mviz_lightning.functional.rounding import ROUNDED

HALF = 16
"""Number of bits of a half-precision number."""


class Retrieval(NamedTuple):
    """Top-1 accuracies of retrieval within groups, and the effects of the modalities on them.

    Attributes:
        score: ``()`` mean accuracy of both directions.
        emap_score: ``()`` accuracy of the additive part of the scores alone, ``score - emap_gap``.
        emap_gap: ``()`` gain in accuracy from the interaction of both modalities.
        low: ``()`` lower bound of the 95 % interval of the gap; NaN with fewer than two groups.
        high: ``()`` upper bound.
        perceptual: ``(2,)`` loss in accuracy when the query comes from another example, by the query's modality.
        flips: ``(2,)`` how often the answer changes with the query, relative to how often the right answer changes.
        chance: ``()`` accuracy of random answers.
        error: ``()`` standard error of the score; NaN with fewer than two groups.
    """

    score: Tensor
    emap_score: Tensor
    emap_gap: Tensor
    low: Tensor
    high: Tensor
    perceptual: Tensor
    flips: Tensor
    chance: Tensor
    error: Tensor


def group_retrieval(scores: Tensor, right: Tensor) -> Retrieval:
    """Return how well scores retrieve the matching pairs within groups, in both directions.

    ``a_i(j)`` is the answer to query i: 1 at the highest score, shared equally among several highest. Its hits are
    ``h_i = sum_j a_i(j) right(i, j)``. The accuracy is the mean of the hits, over rows and columns as queries. With
    another query k in place of i (Gat et al. 2021)::

        perceptual = mean_i h_i - mean_{i != k} sum_j a_k(j) right(i, j)
        flips = mean_{i != k} |a_i - a_k|^2 / mean_{i != k} |r_i - r_k|^2,   r_i = right(i, .) / sum_j right(i, j)

    The additive part (EMAP, Hessel & Lee 2020) of a score is row mean + column mean - grand mean. It ranks the same
    candidate first for every query, so its accuracy is about chance for every model.

    Args:
        scores: ``(G, g, g)`` score of row modality i and column modality j in every group; larger is nearer.
        right: ``(G, g, g)`` bool: which pairs match: the diagonal and copies.

    Returns:
        Values in float64. Mirrored by :class:`~mviz_lightning.metrics.GroupRetrieval`.

    Example:
        >>> import torch
        >>> found = group_retrieval(torch.eye(4).expand(2, 4, 4), torch.eye(4).bool().expand(2, 4, 4))
        >>> float(found.score), float(found.emap_score), found.flips.tolist()
        (1.0, 0.25, [1.0, 1.0])
    """
    return retrieval_of(retrieval_statistics(scores, right))


def retrieval_statistics(scores: Tensor, right: Tensor) -> Tensor:
    """Return ``(G, 8)`` float64: means over each group, from which :func:`retrieval_of` computes the values."""
    equal = rounding_of_scores(scores)
    scores = scores.double()
    additive = scores.mean(2, keepdim=True) + scores.mean(1, keepdim=True) - scores.mean((1, 2), keepdim=True)
    by_rows, by_columns = answers(scores, equal), answers(scores.mT, equal)
    accuracy, additive_accuracy = (
        (_hits(first, right) + _hits(second, right.mT)) / 2
        for first, second in ((by_rows, by_columns), (answers(additive, equal), answers(additive.mT, equal)))
    )
    owed = right.double() / right.sum(2, keepdim=True)
    chance = right.double().mean((1, 2))
    lost = [
        _hits(found, wanted) - _swapped_hits(found, wanted)
        for found, wanted in ((by_rows, right), (by_columns, right.mT))
    ]
    changed = [_changes(found) for found in (by_rows, by_columns, owed)]
    return torch.stack([accuracy, additive_accuracy, *lost, *changed, chance], 1)


def retrieval_of(statistics: Tensor) -> Retrieval:
    """Return the values of ``(G, 8)`` :func:`retrieval_statistics`."""
    score, additive, *lost = statistics.mean(0)[:4]
    *changed, owed, chance = statistics.mean(0)[4:]
    flips = torch.stack(changed) / owed if owed > 0 else torch.zeros_like(torch.stack(changed))
    gap = jackknife(statistics, lambda means: means[..., :1] - means[..., 1:2])
    error = statistics[:, 0].std() / len(statistics) ** 0.5 if len(statistics) > 1 else score * torch.nan
    return Retrieval(score, additive, gap.value[0], gap.low[0], gap.high[0], torch.stack(lost), flips, chance, error)


def answers(scores: Tensor, equal: Tensor) -> Tensor:
    """Return ``(G, g, g)`` float64: the answer to each row, 1 at its highest score, shared among several highest.

    Args:
        scores: ``(G, g, g)``.
        equal: ``(G, 1, 1)`` largest difference of two scores that count as equal.
    """
    highest = scores >= scores.amax(-1, keepdim=True) - equal
    return highest / highest.sum(-1, keepdim=True).double()


def rounding_of_scores(scores: Tensor) -> Tensor:
    """Return ``(G, 1, 1)`` float64: the largest difference of scores that the order of additions may cause.

    It is 0 for 16-bit scores: they are rounded after the additions, so equal scores are bit-identical.
    """
    precision = torch.finfo(scores.dtype)
    size = scores.double().abs().amax((1, 2), keepdim=True) if len(scores) else scores.double()[:, :1, :1]
    return size * (ROUNDED * precision.eps if precision.bits > HALF else 0.0)


def right_pairs(first: Tensor, second: Tensor) -> Tensor:
    """Return ``(G, g, g)`` bool: pairs of one example, and pairs whose first or second modality is a copy.

    Args:
        first: ``(G, g)`` identifiers of the examples' first modality; equal identifiers are copies.
        second: ``(G, g)`` identifiers of the second modality.
    """
    return (first.unsqueeze(2) == first.unsqueeze(1)) | (second.unsqueeze(2) == second.unsqueeze(1))


def _hits(found: Tensor, right: Tensor) -> Tensor:
    """Return ``(G,)``: how often answers are right."""
    return (found * right).sum(2).mean(1)


def _swapped_hits(found: Tensor, right: Tensor) -> Tensor:
    """Return ``(G,)``: how often the answers to the queries of other examples are right."""
    crossed = right.double() @ found.mT  # [i, k]: hits of query k if the right candidates are those of i
    size = found.shape[1]
    return (crossed.sum((1, 2)) - crossed.diagonal(dim1=1, dim2=2).sum(1)) / (size * (size - 1))


def _changes(found: Tensor) -> Tensor:
    """Return ``(G,)``: the mean squared difference of the answers to two queries."""
    size = found.shape[1]
    return torch.cdist(found, found).square().sum((1, 2)) / (size * (size - 1))
