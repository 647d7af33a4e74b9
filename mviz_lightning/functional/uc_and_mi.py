"""Unimodal contributions and multimodal interactions of single predictions (DIME eq. 2-8; EMAP)."""

from torch import Tensor


def emap(grid: Tensor) -> Tensor:
    """Project a model onto its additive part, in the published form of EMAP (Hessel & Lee 2020, algorithm 1).

    ``EMAP_i = mean_j f(x_i, y_j) + mean_k f(x_k, y_i) - mean_{k,j} f(x_k, y_j)``. Every example is among its own donors
    here, which shrinks interactions by ``(1 - 1/N)^2`` in expectation. Prefer :func:`unimodal_contribution`.

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
    If the model is additive, UC is its output. ``MI_i = f(x_i, y_i) - UC_i``. The expectations are over the product of
    the marginals: recombined pairs may be unlike any real pair.

    Args:
        grid: ``(..., N, N, C)`` outputs of the first modality of example i with the second of example j, N 3 or more.

    Returns:
        ``(..., N, C)``.
    """
    n = grid.shape[-2]
    diagonal = own(grid)
    rows, columns = grid.sum(-2), grid.sum(-3)
    rest = rows.sum(-2, keepdim=True) - diagonal.sum(-2, keepdim=True) - rows - columns + 2 * diagonal
    return (rows + columns - 2 * diagonal) / (n - 1) - rest / ((n - 1) * (n - 2))


def multimodal_interaction(grid: Tensor) -> Tensor:
    """Return the multimodal interaction (MI) of every example (Lyu et al. 2022, eq. 2-8).

    ``MI_i = f(x_i, y_i) - UC_i``, with :func:`unimodal_contribution`; 0 if the model is additive.

    Args:
        grid: ``(..., N, N, C)`` as there.

    Returns:
        ``(..., N, C)``.
    """
    return own(grid) - unimodal_contribution(grid)
