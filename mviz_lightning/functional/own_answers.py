"""Loss in likelihood of each example's own answer when a modality is swapped, and retrieval of its own modality."""

from typing import NamedTuple

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.jackknife import jackknife
from mviz_lightning.functional.rounding import ROUNDED


class AnswerLosses(NamedTuple):
    """Loss in likelihood of own answers when modalities are swapped, each ``(K,)`` for K modalities.

    Attributes:
        nats: Mean loss in log-likelihood of the answer, in nats per token.
        low: Lower bound of the 95 % interval of ``nats``; NaN with fewer than two groups.
        high: Upper bound.
        retrieval: Share of the examples whose answer is most likely with their own modality.
    """

    nats: Tensor
    low: Tensor
    high: Tensor
    retrieval: Tensor


def answer_statistics(likelihoods: Tensor, design: Design, modality: int) -> Tensor:
    """Return ``(G, 2)`` float64: nats lost and retrieval of each group, when one modality is swapped.

    ``l(i, j)`` is the mean log-likelihood per token of the answer of example j, with its modality taken from example
    i::

        nats      = mean_j [l(j, j) - mean_{i != j} l(i, j)]
        retrieval = mean_j [l(j, j) is the largest of all l(i, j)],  shared equally where several are largest

    Args:
        likelihoods: ``(G, T, 1)`` mean log-likelihoods of the design's T tuples in G groups.
        design: The recombinations.
        modality: Place of the modality.
    """
    own, swapped = design.own(likelihoods)[..., 0], design.swapped(likelihoods, modality)[..., 0]
    rounding = ROUNDED * torch.finfo(likelihoods.dtype).eps * likelihoods.abs().amax().double()
    own, swapped = own.double(), swapped.double()
    best = (own >= swapped.amax(-1) - rounding).double()
    tied = (swapped >= own.unsqueeze(-1) - rounding).sum(-1)
    return torch.stack([(own - swapped.mean(-1)).mean(-1), (best / (1 + tied)).mean(-1)], -1)


def answer_losses(statistics: Tensor) -> AnswerLosses:
    """Return the losses of ``(G, K, 2)`` :func:`answer_statistics` of K modalities."""
    nats = jackknife(statistics[..., 0], lambda means: means)
    return AnswerLosses(nats.value, nats.low, nats.high, statistics[..., 1].mean(0))
