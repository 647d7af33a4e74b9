"""The additive part of a model by least squares on drawn recombinations."""

from typing import NamedTuple

import torch
from torch import Tensor

RANK = 1e-9
"""Size of an eigenvalue of the normal equations, relative to the largest, below which it counts as 0.

One-hot columns of a modality add up to a constant, so each modality has one eigenvalue that is 0 up to rounding.
"""


class AdditiveFit(NamedTuple):
    """Weights that turn the outputs of R tuples into their least-squares additive part.

    Attributes:
        effects: ``(M, g, R)``: what each modality of each example adds to the mean output.
        unimodal: ``(g, R)``: the fitted output of each example, its unimodal contribution.
    """

    effects: Tensor
    unimodal: Tensor


def additive_fit(tuples: Tensor, size: int, among: Tensor | None = None) -> AdditiveFit:
    """Fit an additive model to the outputs of tuples, with minimum norm and no penalty.

    The design is one-hot, example by modality, with the column means removed. The weights depend on the tuples alone.
    The fit is exact for additive models, and on all off-diagonal pairs of two modalities it is DIME's formula
    (Lyu et al. 2022, eq. 5; :func:`unimodal_contribution`).

    Args:
        tuples: ``(R, M)`` positions: the example from which each modality is taken.
        size: Number of examples, g.
        among: ``(R,)`` bool: the tuples to use; the others get the weight 0. None for all.

    Returns:
        Weights in float64.
    """
    used = torch.ones(len(tuples), dtype=torch.bool) if among is None else among
    chosen = torch.nn.functional.one_hot(tuples[used], size).double()  # (R', M, g)
    frequency = chosen.mean(0)
    design = (chosen - frequency).flatten(1)
    projection = torch.linalg.pinv(design.T @ design, rtol=RANK, hermitian=True) @ design.T
    fitted = projection.view(*frequency.shape, -1)
    effects = fitted.new_zeros(*frequency.shape, len(tuples))
    effects[..., used] = fitted - (frequency.unsqueeze(-1) * fitted).sum(1, keepdim=True)
    return AdditiveFit(effects, effects.sum(0) + used.double() / used.sum())
