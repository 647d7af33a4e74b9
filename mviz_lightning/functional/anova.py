"""Functional ANOVA of a model's outputs over its modalities (Sobol' indices)."""

import torch
from torch import Tensor

HALVES_AT_ONCE = 2**18
"""Largest number of entries of half-splits in memory at once: 2 MiB of float64, which fit into a CPU's cache."""


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
    return _components(*_effects(grid))


def _components(rows: Tensor, columns: Tensor, residual: Tensor) -> Tensor:
    k = residual.shape[-2]
    interaction = residual.square().sum((-3, -2, -1)) / (k - 1) ** 2
    first = [means.square().sum((-2, -1)) / (k - 1) - interaction / k for means in (rows, columns)]
    return torch.stack([*first, interaction], -1)


def _effects(grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ``(..., k, C)`` effects of rows and of columns, and the ``(..., k, k, C)`` residual."""
    grid = grid - grid.mean((-3, -2), keepdim=True)
    rows, columns = grid.mean(-2), grid.mean(-3)
    return rows, columns, grid - rows.unsqueeze(-2) - columns.unsqueeze(-3)


def _without_each_row(rows: Tensor, columns: Tensor, residual: Tensor) -> Tensor:
    """Return the components of :func:`two_way_components` of a grid without each of its rows.

    With residuals e, row effects r and column effects c of the whole grid, without row i::

        SS_residual - k / (k - 1) sum_j e_ij^2
        SS_rows     - k / (k - 1) r_i^2
        SS_columns  = sum_j (c_j - e_ij / (k - 1))^2

    Args:
        rows: ``(..., k, C)`` effects, k 3 or more.
        columns: ``(..., k, C)`` effects.
        residual: ``(..., k, k, C)``.

    Returns:
        ``(..., k, 3)``: V_1 of the rows, V_2 of the columns and V_12.
    """
    k = residual.shape[-2]
    own = torch.einsum("...ijc,...ijc->...i", residual, residual)
    across = torch.einsum("...ijc,...jc->...i", residual, columns)
    squares = [part.square().sum((-2, -1)).unsqueeze(-1) for part in (rows, columns)]
    interaction = (own.sum(-1, keepdim=True) - k / (k - 1) * own) / ((k - 2) * (k - 1))
    first = (squares[0] - k / (k - 1) * rows.square().sum(-1)) / (k - 2) - interaction / k
    second = (squares[1] - 2 / (k - 1) * across + own / (k - 1) ** 2) / (k - 1) - interaction / (k - 1)
    return torch.stack([first, second, interaction], -1)


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
    both = _both_ways(splits)
    # At least 2: PyTorch splits a single sum over threads, which makes the order of additions depend on their number.
    size = max(2, HALVES_AT_ONCE * grid.shape[-2] ** 2 // max(1, grid.numel() * splits.shape[-1] ** 2))
    found = [two_way_components(_halves(grid, part)) for part in torch.split(both, size)]
    return torch.cat(found, -2).mean(-2)


def split_components_without_each(grid: Tensor, splits: Tensor) -> Tensor:
    """Return the components of :func:`split_components` of a group without each of its examples.

    An example is removed from the half that contains it. Splits without the example do not change.

    Args:
        grid: ``(..., g, g, C)`` outputs of every pairing in a group, g 6 or more.
        splits: ``(S, 2, g // 2)`` from :func:`half_splits`.

    Returns:
        ``(..., g, 3)``.
    """
    rows, columns, residual = _effects(_halves(grid, _both_ways(splits)))
    whole = _components(rows, columns, residual)
    across = _without_each_row(columns, rows, residual.transpose(-3, -2))[..., [1, 0, 2]]
    without = [_without_each_row(rows, columns, residual), across]
    changes = torch.cat([(part - whole.unsqueeze(-2)).flatten(-3, -2) for part in without], -2)
    examples = _both_ways(splits).transpose(0, 1).flatten().to(grid.device)
    mean = whole.mean(-2, keepdim=True).expand(*grid.shape[:-2], 3)
    return mean.index_add(-2, examples, changes / whole.shape[-2])


def _both_ways(splits: Tensor) -> Tensor:
    """Return ``(2 S, 2, k)`` of ``(S, 2, k)`` splits: each half in the rows, then the other."""
    return torch.cat([splits, splits.flip(1)])


def _halves(grid: Tensor, splits: Tensor) -> Tensor:
    """Return ``(..., S, k, k, C)``: the first half of every split in the rows, and the second in the columns."""
    rows, columns = splits.unbind(1)
    return grid[..., rows[:, :, None], columns[:, None, :], :]


def half_squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return half the squared difference of each row, summed over the outputs (Jansen 1999).

    If left and right rows share the modalities A and nothing else, its expectation is ``Var f - Var E[f | x_A]``.

    Args:
        left: ``(..., R, C)`` outputs.
        right: ``(..., R, C)`` outputs.

    Returns:
        ``(..., R)``.
    """
    return (left - right).square().sum(-1) / 2
