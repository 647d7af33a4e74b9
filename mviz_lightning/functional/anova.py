"""Functional ANOVA of a model's outputs over its modalities (Sobol' indices)."""

import torch
from torch import Tensor


def half_splits(size: int, count: int, seed: int = 0) -> Tensor:
    """Draw random halves of a group.

    Args:
        size: Examples in the group, at least 4.
        count: How many splits to draw.
        seed: Of the draw.

    Returns:
        ``(count, 2, size // 2)`` indices; the two halves of a split share no example.
    """
    generator = torch.Generator().manual_seed(seed)
    half = size // 2
    return torch.stack([torch.randperm(size, generator=generator)[: 2 * half].view(2, half) for _ in range(count)])


def two_way_components(grid: Tensor) -> Tensor:
    """Split the variance over a grid into rows, columns and their interaction (two-way ANOVA, no replication).

    Unbiased when no example stands in both the rows and the columns; see :func:`split_components` for grids of one
    group with itself.

    Args:
        grid: ``(..., k, k, C)`` outputs of row example i with column example j, k at least 2.

    Returns:
        ``(..., 3)``: V_1, V_2 and V_12, summed over the outputs. Slightly negative values are left as they are.
    """
    k = grid.shape[-2]
    grid = grid - grid.mean((-3, -2), keepdim=True)
    rows, columns = grid.mean(-2), grid.mean(-3)
    residual = grid - rows.unsqueeze(-2) - columns.unsqueeze(-3)
    interaction = residual.square().sum((-3, -2, -1)) / (k - 1) ** 2
    first = [means.square().sum((-2, -1)) / (k - 1) - interaction / k for means in (rows, columns)]
    return torch.stack([*first, interaction], -1)


def split_components(grid: Tensor, splits: Tensor) -> Tensor:
    """Split the variance over the full grid of a group, with rows and columns from disjoint halves of it.

    The textbook ANOVA on the whole grid is biased as soon as the modalities of an example are correlated, since its
    rows and columns share examples.

    Args:
        grid: ``(..., g, g, C)`` outputs of every pairing inside a group.
        splits: ``(S, 2, g // 2)`` from :func:`half_splits`; both orientations of each are used.

    Returns:
        ``(..., 3)``: V_1, V_2 and V_12, averaged over splits and orientations.
    """
    rows, columns = torch.cat([splits, splits.flip(1)]).unbind(1)
    return two_way_components(grid[..., rows[:, :, None], columns[:, None, :], :]).mean(-2)


def half_squared_distance(left: Tensor, right: Tensor) -> Tensor:
    """Return half the mean squared difference, summed over the outputs (Jansen 1999).

    Between the outputs of two rows that share the modalities A and nothing else, its expectation is Var f less the
    variance of E[f | x_A].

    Args:
        left: ``(..., R, C)``.
        right: ``(..., R, C)``.

    Returns:
        ``(...)``.
    """
    return (left - right).square().sum(-1).mean(-1) / 2
