"""Functional ANOVA of a model's outputs over its modalities (Sobol' indices)."""

import torch
from torch import Tensor


def half_splits(size: int, count: int, seed: int = 0) -> Tensor:
    """Draw random halves of a group, for :func:`split_components`.

    Args:
        size: Examples in the group, 4 or more.
        count: Number of splits.
        seed: Seed of the draw.

    Returns:
        ``(count, 2, size // 2)`` indices; the two halves of a split share no example.
    """
    generator = torch.Generator().manual_seed(seed)
    half = size // 2
    return torch.stack([torch.randperm(size, generator=generator)[: 2 * half].view(2, half) for _ in range(count)])


def two_way_components(grid: Tensor) -> Tensor:
    """Estimate the variance components of rows, columns and their interaction (two-way ANOVA without replication).

    With sums of squares SS of the centred grid, from the expected mean squares (Scheffé 1959)::

        V_12 = SS_residual / (k - 1)^2
        V_1 = (k SS_rows / (k - 1) - V_12) / k

    where SS_rows sums the squared deviations of the k row means; V_2 uses columns. Unbiased if no example is
    both in the rows and in the columns; for the grid of a group with itself use :func:`split_components`.

    Args:
        grid: ``(..., k, k, C)`` outputs of row example i with column example j, k 2 or more.

    Returns:
        ``(..., 3)``: V_1, V_2 and V_12, summed over the outputs. Negative estimates are not clipped.
    """
    k = grid.shape[-2]
    grid = grid - grid.mean((-3, -2), keepdim=True)
    rows, columns = grid.mean(-2), grid.mean(-3)
    residual = grid - rows.unsqueeze(-2) - columns.unsqueeze(-3)
    interaction = residual.square().sum((-3, -2, -1)) / (k - 1) ** 2
    first = [means.square().sum((-2, -1)) / (k - 1) - interaction / k for means in (rows, columns)]
    return torch.stack([*first, interaction], -1)


def split_components(grid: Tensor, splits: Tensor) -> Tensor:
    """Estimate the variance components of the full grid of a group, with rows and columns from disjoint halves.

    :func:`two_way_components` on the whole grid is biased if the modalities of an example are correlated, because rows
    and columns share examples. For a model ``(x - y)^2`` at correlation 0.9 and 8 examples it gives (0.97, 1.00, 5.04)
    instead of (2, 2, 4). The mean over random halves is unbiased.

    Args:
        grid: ``(..., g, g, C)`` outputs of every pairing in a group.
        splits: ``(S, 2, g // 2)`` from :func:`half_splits`; both orientations of each split are used.

    Returns:
        ``(..., 3)``: V_1, V_2 and V_12, averaged over splits and orientations.
    """
    rows, columns = torch.cat([splits, splits.flip(1)]).unbind(1)
    return two_way_components(grid[..., rows[:, :, None], columns[:, None, :], :]).mean(-2)


def half_squared_distance(left: Tensor, right: Tensor) -> Tensor:
    """Return half the mean squared difference, summed over the outputs (Jansen 1999).

    If left and right rows share the modalities A and nothing else, its expectation is ``Var f - Var E[f | x_A]``.

    Args:
        left: ``(..., R, C)`` outputs.
        right: ``(..., R, C)`` outputs.

    Returns:
        ``(...)``.
    """
    return (left - right).square().sum(-1).mean(-1) / 2
