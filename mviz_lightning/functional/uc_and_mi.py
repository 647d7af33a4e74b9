"""Unimodal contributions and multimodal interactions of single predictions (DIME eq. 2-8; EMAP)."""

import torch
from torch import Tensor

INTERVAL = 1.96
"""Half the width of a 95 % interval, in standard errors."""


def emap(grid: Tensor) -> Tensor:
    """Project a model onto its additive part, in the published form of EMAP (Hessel & Lee 2020, algorithm 1).

    ``EMAP_i = mean_j f(x_i, y_j) + mean_k f(x_k, y_i) - mean_{k,j} f(x_k, y_j)``. In this form, every example is one of
    its own donors, which shrinks interactions by ``(1 - 1/N)^2`` in expectation. Prefer :func:`unimodal_contribution`.

    Args:
        grid: ``(..., N, N, C)`` outputs of the first modality of example i with the second of example j.

    Returns:
        ``(..., N, C)`` additive predictions of the N examples.
    """
    return grid.mean(-2) + grid.mean(-3) - grid.mean((-3, -2)).unsqueeze(-2)


def own(grid: Tensor) -> Tensor:
    """Return the ``(..., N, C)`` predictions of the real pairs, the diagonal of a ``(..., N, N, C)`` grid."""
    return grid.diagonal(dim1=-3, dim2=-2).movedim(-1, -2)


def unimodal_contribution(grid: Tensor) -> Tensor:
    """Return the unimodal contribution (UC) of every example, with donors other than itself (Lyu et al. 2022, eq. 5).

    ``UC_i = mean_{j != i} f(x_i, y_j) + mean_{k != i} f(x_k, y_i) - mean_{k != j, both != i} f(x_k, y_j)``.
    If the model is additive, UC equals its output. ``MI_i = f(x_i, y_i) - UC_i``. The expectations are over the product
    of the marginals: recombined pairs may be unlike any real pair.

    Args:
        grid: ``(..., N, N, C)`` outputs of the first modality of example i with the second of example j, N 3 or more.

    Returns:
        ``(..., N, C)``.
    """
    return unimodal_contribution_of_donors(grid, torch.ones(1, grid.shape[-2])).squeeze(-3)


def unimodal_contribution_of_donors(grid: Tensor, donors: Tensor) -> Tensor:
    """Return the unimodal contribution (UC) of every example, from some of the donors only.

    Args:
        grid: ``(..., N, N, C)`` as in :func:`unimodal_contribution`.
        donors: ``(D, N)`` bool: which examples may be donors, for each of D estimates. An example is never its own
            donor and needs two others.

    Returns:
        ``(..., D, N, C)``.
    """
    first, second, pairs = _donor_means(grid, donors)
    return first + second - pairs


def _donor_means(grid: Tensor, donors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the means whose sum is a unimodal contribution.

    Args:
        grid: ``(..., N, N, C)`` outputs.
        donors: ``(D, N)`` 1 for each donor, else 0.

    Returns:
        Three times ``(..., D, N, C)``: means over the first modality of an example with its donors, over its second
        modality with its donors, and over pairs of its donors.
    """
    others, chosen = _without_diagonal(grid), donors.to(grid)
    first, second = (torch.einsum(how, chosen, others) for how in ("dj,...ijc->...dic", "dj,...jic->...dic"))
    everyone, itself = torch.einsum("di,...dic->...dc", chosen, first).unsqueeze(-2), chosen.unsqueeze(-1)
    count = chosen.sum(-1, keepdim=True).unsqueeze(-1) - itself
    return first / count, second / count, (everyone - itself * (first + second)) / (count * (count - 1))


def _without_diagonal(grid: Tensor) -> Tensor:
    return grid.masked_fill(torch.eye(grid.shape[-2], dtype=torch.bool, device=grid.device).unsqueeze(-1), 0.0)


def unimodal_contribution_without_donors(grid: Tensor, place: int) -> Tensor:
    """Return the unimodal contribution (UC) of one example without each of its donors in turn.

    Args:
        grid: ``(..., N, N, C)`` as in :func:`unimodal_contribution`, N 4 or more.
        place: The example, i.

    Returns:
        ``(..., N - 1, C)``, for the donors in order.
    """
    others, count = _without_diagonal(grid), grid.shape[-2] - 2
    first, second = others[..., place, :, :], others[..., place, :]
    rows = others.sum(-2) + others.sum(-3)  # for each example, the sum of its pairs
    pairs = others.sum((-3, -2)).unsqueeze(-2) - rows[..., [place], :] - rows + first + second
    single = (first + second).sum(-2, keepdim=True) - first - second
    found = single / count - pairs / (count * (count - 1))
    return torch.cat([found[..., :place, :], found[..., place + 1 :, :]], -2)


def multimodal_interaction(grid: Tensor) -> Tensor:
    """Return the multimodal interaction (MI) of every example (Lyu et al. 2022, eq. 2-8).

    ``MI_i = f(x_i, y_i) - UC_i``, with :func:`unimodal_contribution`; 0 if the model is additive.

    Args:
        grid: ``(..., N, N, C)`` as in :func:`unimodal_contribution`.

    Returns:
        ``(..., N, C)``.
    """
    return own(grid) - unimodal_contribution(grid)


def donor_error(left_out: Tensor) -> Tensor:
    """Return the standard error of an example's UC or MI, or of a function of it (jackknife over donors; Tukey 1958).

    ``se^2 = (J - 1) / J * sum_j (value_(-j) - mean)^2``, with ``value_(-j)`` the value without donor j. UC and MI have
    the same error, because the model's own output has none. The spread over masks or draws would underestimate it up to
    sevenfold, because the error of UC comes from the donors.

    Args:
        left_out: ``(..., J, C)`` values, each without one of the J donors: :meth:`Design.unimodal_without_donors`.

    Returns:
        ``(..., C)``, in the unit of the values.
    """
    donors = left_out.shape[-2]
    deviation = left_out - left_out.mean(-2, keepdim=True)
    return ((donors - 1) / donors * deviation.square().sum(-2)).sqrt()
