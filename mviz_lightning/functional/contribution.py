"""Contribution shares: variance components as fractions of the outputs' variance, with intervals."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mviz_lightning.functional.jackknife import Deletions, jackknife


def share_names(modalities: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return the names of the values of :func:`share_ratios`, in order."""
    first = [f"contribution/{name}" for name in modalities]
    total = [f"total/{name}" for name in modalities]
    both = [f"interaction/{modalities[a]}+{modalities[b]}" for a, b in pairs]
    return [*first, *total, *both, "interaction"]


def bound_name(name: str, side: Literal["low", "high"]) -> str:
    """Return the name of the bound of a share, for example ``total_low/image`` of ``total/image``."""
    kind, _, of = name.partition("/")
    return f"{kind}_{side}{of and '/' + of}"


def bound_of(name: str, side: Literal["low", "high"]) -> str:
    """Return the name of a bound of a value of all examples or of a subset: ``class/<c>/total_low/<m>``."""
    before, total, modality = name.rpartition("/total/")
    return f"{before}/{bound_name(f'total/{modality}', side)}" if total else bound_name(name, side)


def share_ratios(components: Tensor, modalities: int) -> Tensor:
    """Divide variance components by the variance (Sobol' indices; Sobol' 1993, Homma & Saltelli 1996).

    With components V_A of sets A of modalities: ``contribution_m = V_m / Var f``, ``total_m = sum of V_A over all A
    that contain m / Var f``, ``interaction = sum of V_A over all A of two or more / Var f``.

    Args:
        components: ``(..., 2 + 2 M + P)`` of :meth:`Design.components`, averaged over groups.
        modalities: Number of modalities, M.

    Returns:
        ``(..., 2 M + P + 1)``: M contributions, M totals, P pairs, and the share of all interactions. Contributions and
        interaction are divided by their own sum, so they add up to 1. Totals and pairs are divided by the variance
        from the same differences, because their errors then cancel. All are 0 where the outputs do not vary.
    """
    first, interaction = components[..., 1 : 1 + modalities], components[..., -1:]
    parts = first.sum(-1, keepdim=True) + interaction
    variance = components[..., :1]
    rest = components[..., 1 + modalities : -1] / variance
    shares = torch.cat([first / parts, rest, interaction / parts], -1)
    # The comparisons are False for NaN, so NaN stays NaN.
    return torch.where((variance <= 0) | (parts <= 0), 0.0, shares)


def contribution_shares(
    groups: Tensor,
    modalities: Sequence[str],
    pairs: Sequence[tuple[int, int]] = (),
    deletions: Deletions | None = None,
) -> dict[str, Tensor]:
    """Estimate the contribution shares with their 95 % intervals.

    :func:`share_ratios` of the mean components, with the intervals of :func:`jackknife`. Expectations are over the
    product of the marginals: recombined examples may be unlike any real example.

    Args:
        groups: ``(G, 2 + 2 M + P)`` components of every group, from :meth:`Design.components` of :func:`decomposable`
            outputs.
        modalities: M names.
        pairs: The P pairs of the components: ``design.pairs``.
        deletions: Components without each example. If they are missing, the intervals use groups alone; for pure
            interactions they then cover the true value in about 87 % of cases instead of 95 %.

    Returns:
        Scalars ``()`` by name: ``contribution/<m>``, ``total/<m>``, ``interaction`` and ``interaction/<a>+<b>``; their
        bounds, for example ``total_low/<m>`` and ``total_high/<m>``; and ``weakest_total``, the smallest total.
        Mirrored by :class:`~mviz_lightning.metrics.ContributionShares`.

    Example:
        >>> import torch
        >>> from mviz_lightning.functional import decomposable, design
        >>> grid = design(2, 16)
        >>> x, y = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
        >>> outputs = (x[:, grid.tuples[:, 0]] + y[:, grid.tuples[:, 1]]).unsqueeze(-1)  # 8 groups, additive
        >>> found = contribution_shares(grid.components(decomposable(outputs, "regression")), ["x", "y"])
        >>> round(float(found["interaction"]), 6)
        0.0
    """
    estimate = jackknife(groups, lambda mean: share_ratios(mean, len(modalities)), deletions=deletions)
    values: dict[str, Tensor] = {}
    for name, value, low, high in zip(share_names(modalities, pairs), *estimate, strict=True):
        values |= {name: value, bound_name(name, "low"): low, bound_name(name, "high"): high}
    values["weakest_total"] = torch.stack([values[f"total/{name}"] for name in modalities]).min()
    return values
