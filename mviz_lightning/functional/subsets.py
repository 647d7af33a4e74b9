"""Total effects within a subset of the examples: of one class, or of one subgroup."""

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.jackknife import Estimate, jackknife

LEAST = 12
"""Smallest number of examples of a subset. From 12 on, the nominal 95 % interval covers 0.86 to 0.98; with 8 it covers
down to 0.67 where the outputs are a product (``python tests/benchmarks/subset_coverage.py``)."""


def swap_effects(outputs: Tensor, design: Design) -> Tensor:
    """Measure how far each real example's outputs move when its modalities are taken from others of its group.

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
    """Return ``(..., g)``: half the mean squared distance to the tuples of as many other examples as modalities."""
    strangers = _strangers(design).to(outputs)
    weights = strangers / strangers.sum(-1, keepdim=True)
    offset = outputs.mean(-2, keepdim=True)  # |a - b|^2 by products loses fewer digits without it
    rows, real = outputs - offset, own - offset
    across = (real * (weights @ rows)).sum(-1)
    apart = real.square().sum(-1) - 2 * across + (weights @ rows.square().sum(-1, keepdim=True)).squeeze(-1)
    return apart.clamp(min=0) / 2


def _strangers(design: Design) -> Tensor:
    """Return ``(g, T)`` bool: the tuples of distinct examples none of which is the given one."""
    return distinct_members(design.tuples) & (design.tuples != torch.arange(design.size).view(-1, 1, 1)).all(-1)


def distinct_members(tuples: Tensor) -> Tensor:
    """Return ``(T,)`` bool: the tuples ``(T, M)`` in which no example occurs twice."""
    return (tuples.sort(-1).values.diff(dim=-1) != 0).all(-1)


def subset_totals(effects: Tensor, members: Tensor) -> Estimate:
    """Estimate the total effect of every modality within a subset of the examples, with 95 % intervals.

    ``total_m(S) = sum_{i in S} d_m(i) / sum_{i in S} d(i)``, with :func:`swap_effects`: how far the outputs of the
    examples in S move when m is taken from any other example, as a fraction of how far they move when everything is.
    0: their predictions do not use m. 1: without m nothing is left of them. Donors are drawn from all examples, since
    the evidence for a class is often the same in all of its examples: swapped within the class it would move nothing.

    Over all examples of independent modalities it is the total effect of :func:`contribution_shares`. Where modalities
    agree, as those of one class do, totals of subsets are smaller: what one modality loses, the other still says.
    They need not add up to 1 or more.

    Args:
        effects: ``(G, g, 1 + M)`` of :func:`swap_effects`.
        members: ``(G, g)`` bool: the examples of the subset.

    Returns:
        ``(M,)`` values and bounds, by the delete-one-group :func:`jackknife` over the groups that hold members; NaN
        bounds if only one does. All are 0 where the outputs do not vary.
    """
    sums = (effects * members.to(effects).unsqueeze(-1)).sum(1)
    return jackknife(sums[members.any(1).to(sums.device)], _ratios)


def _ratios(sums: Tensor) -> Tensor:
    whole = sums[..., :1]
    return torch.where(whole <= 0, 0.0, sums[..., 1:] / whole)
