"""The score of the unimodal contributions alone, and the gain from interactions (EMAP)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.jackknife import jackknife_blocks
from mviz_lightning.functional.outputs import Task
from mviz_lightning.functional.scores import Score, comparable, labelled_predictions
from mviz_lightning.functional.targets import labelled

AT_ONCE = 2**24
"""Largest number of outputs processed at once: 128 MiB of float64; intermediate tensors take several times as much."""


class EMAPScores(NamedTuple):
    """Scores, each ``()``; the bounds are NaN where fewer than two groups have labels.

    Attributes:
        score: Score of the model.
        emap_score: Score of its unimodal contributions alone, ``score - emap_gap``.
        emap_gap: Gain in score from the interactions.
        low: Lower bound of the 95 % interval of the gap.
        high: Upper bound.
    """

    score: Tensor
    emap_score: Tensor
    emap_gap: Tensor
    low: Tensor
    high: Tensor


def emap_gap(outputs: Tensor, target: Tensor, design: Design, *, task: Task, score: Score) -> EMAPScores:
    """Return how much the score falls without interactions (Hessel & Lee 2020), with a 95 % interval.

    ``score(f) - score(UC)``: the model's score less the score of its unimodal contributions alone. Interactions that
    leave the decision unchanged do not count, so read the gap together with the shares. Donors of an example are the
    other examples of its group. Few donors make UC noisy, and noise flips decisions: the plain difference is too large.
    With half of the donors (two modalities) or half of the draws (more modalities), the noise has twice the variance.
    So the score of UC is extrapolated: ``2 score(UC) - mean of score(UC of a half)``. With five or more modalities, or
    correlated modalities, the gap is still too large (``tests/benchmarks/coverage_of_examples.py``).

    Args:
        outputs: ``(G, T, C)`` logits or values of the design's T tuples in G groups.
        target: ``(G, g, ...)`` labels. -100, or NaN in a regression, means no label; such examples do not count.
        design: The tuples.
        task: Type of the prediction task.
        score: Function of ``(n, C)`` or ``(n,)`` predictions (probabilities, or values) and their targets.

    Returns:
        Scores ``()``. Mirrored by :class:`~mviz_lightning.metrics.EMAPGap`.
    """
    return scores_of_parts(additive_parts(outputs, design, task), target, task=task, score=score)


def additive_parts(outputs: Tensor, design: Design, task: Task) -> Tensor:
    """Return ``(G, 2 + H, g, C)`` in float64: the model's outputs, UC, and UC from H halves of donors or draws."""
    outputs = comparable(outputs, task)
    size = len(outputs) if outputs.numel() <= AT_ONCE else 1
    return torch.cat([_parts(groups, design) for groups in torch.split(outputs, max(1, size))])


def _parts(outputs: Tensor, design: Design) -> Tensor:
    whole = torch.stack([design.own(outputs), design.unimodal(outputs)], -3)
    return torch.cat([whole, design.unimodal_halves(outputs)], -3)


def scores_of_parts(parts: Tensor, target: Tensor, *, task: Task, score: Score) -> EMAPScores:
    """Return the scores of :func:`emap_gap` from the ``(G, 2 + H, g, C)`` :func:`additive_parts`."""
    known = labelled(target.flatten(0, 1), task).view(target.shape[:2]).any(1)
    found = [_predicted(part, target[known], task) for part in _whole_and_halves(parts[known])]

    def scores(groups: Tensor) -> Tensor:
        full, additive, *halves = (_score_of(by_group, groups, score) for by_group in found)
        return torch.stack([full, full - (2 * additive - halves[0] if halves else additive)])

    (full, gap), (_, low), (_, high) = jackknife_blocks(int(known.sum()), scores)
    return EMAPScores(full, full - gap, gap, low, high)


def _whole_and_halves(parts: Tensor) -> list[Tensor]:
    """Split ``(G, 2 + H, g, C)`` parts into the model's outputs, UC, and UC from halves where there are any."""
    full, additive, halves = parts.tensor_split((1, 2), 1)
    return [full, additive, halves] if halves.shape[1] else [full, additive]


def _predicted(outputs: Tensor, target: Tensor, task: Task) -> list[tuple[Tensor, Tensor]]:
    """Return the predictions and targets of every group, from ``(G, H, g, C)`` outputs and ``(G, g, ...)`` targets."""
    truth = target.unsqueeze(1).expand(*outputs.shape[:3], *target.shape[2:])
    return [labelled_predictions(*group, task) for group in zip(outputs, truth, strict=True)]


def _score_of(by_group: Sequence[tuple[Tensor, Tensor]], groups: Tensor, score: Score) -> Tensor:
    """Return the score of some groups as one set of examples."""
    predicted, truth = (torch.cat(parts) for parts in zip(*(by_group[group] for group in groups), strict=True))
    return score(predicted, truth).double()
