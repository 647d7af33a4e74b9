"""Total effects within a subset of the examples: of one class, or of one subgroup."""

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.jackknife import Estimate, jackknife

LEAST = 12
"""Smallest number of examples of a subset. With 12 or more, the nominal 95 % interval covers the true value in 86 to 98
% of cases; with 8 examples, in only 67 % if the outputs are a product (``python
tests/benchmarks/subset_coverage.py``)."""


def swap_effects(outputs: Tensor, design: Design) -> Tensor:
    """Measure how much each real example's outputs change when its modalities are taken from others of its group.

    Half the mean squared distance, summed over the outputs, as in Jansen's estimator of the total effect (1999)::

        d_m(i) = 1/2 E_j |f(x_i) - f(x_i with m from j)|^2
        d(i) = 1/2 E_v |f(x_i) - f(v)|^2, v with each modality from another example

    Args:
        outputs: ``(..., T, C)`` outputs of the design's T tuples, on the scale of :func:`decomposable`.
        design: The tuples.

    Returns:
        ``(..., g, 1 + M)`` in the outputs' unit squared: ``d(i)``, then ``d_m(i)`` of every modality.
    """
    own = design.own(outputs)
    single = [
        (design.swapped(outputs, m) - own.unsqueeze(-2)).square().sum(-1).mean(-1) / 2 for m in range(design.modalities)
    ]
    return torch.stack([_everything_swapped(outputs, own, design), *single], -1)


def _everything_swapped(outputs: Tensor, own: Tensor, design: Design) -> Tensor:
    """Return ``(..., g)``: half the mean squared distance to tuples of other examples, all different."""
    strangers = _strangers(design).to(outputs)
    weights = strangers / strangers.sum(-1, keepdim=True)
    offset = outputs.mean(-2, keepdim=True)  # without it, |a - b|^2 by products is more precise
    rows, real = outputs - offset, own - offset
    across = (real * (weights @ rows)).sum(-1)
    apart = real.square().sum(-1) - 2 * across + (weights @ rows.square().sum(-1, keepdim=True)).squeeze(-1)
    return apart.clamp(min=0) / 2


def _strangers(design: Design) -> Tensor:
    """Return ``(g, T)`` bool: the tuples of distinct examples that do not contain the given example."""
    return distinct_members(design.tuples) & (design.tuples != torch.arange(design.size).view(-1, 1, 1)).all(-1)


def distinct_members(tuples: Tensor) -> Tensor:
    """Return ``(T,)`` bool: the tuples ``(T, M)`` in which no example occurs twice."""
    return (tuples.sort(-1).values.diff(dim=-1) != 0).all(-1)


def subset_totals(effects: Tensor, members: Tensor) -> Estimate:
    """Estimate the total effect of every modality within a subset of the examples, with 95 % intervals.

    ``total_m(S) = sum_{i in S} d_m(i) / sum_{i in S} d(i)``, with :func:`swap_effects`: how much the outputs of the
    examples in S change when m is taken from any other example, as a fraction of the change when all modalities are
    taken from others. 0: their predictions do not use m. 1: swapping m changes them as much as swapping all modalities.
    Donors are drawn from all examples, because examples of one class often share the evidence for it: a swap within the
    class would have no effect.

    Over all examples of independent modalities, it is the total effect of :func:`contribution_shares`. Within a class,
    modalities are redundant, so totals of subsets are smaller: the other modality still contains the swapped
    information. They may add up to less than 1.

    Args:
        effects: ``(G, g, 1 + M)`` of :func:`swap_effects`.
        members: ``(G, g)`` bool: the examples of the subset.

    Returns:
        ``(M,)`` values and bounds, by the delete-one-group :func:`jackknife` over the groups with members; NaN
        bounds if only one group has members. All are 0 where the outputs do not vary.
    """
    sums = (effects * members.to(effects).unsqueeze(-1)).sum(1)
    return jackknife(sums[members.any(1).to(sums.device)], _ratios)


def _ratios(sums: Tensor) -> Tensor:
    whole = sums[..., :1]
    return torch.where(whole <= 0, 0.0, sums[..., 1:] / whole)
