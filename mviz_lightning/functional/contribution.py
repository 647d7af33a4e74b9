"""From variance components to the shares that the curves show."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mviz_lightning.functional.jackknife import jackknife


def share_names(modalities: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return the names of the values of :func:`share_ratios`, in its order."""
    first = [f"contribution/{name}" for name in modalities]
    total = [f"total/{name}" for name in modalities]
    both = [f"interaction/{modalities[a]}+{modalities[b]}" for a, b in pairs]
    return [*first, *total, *both, "interaction"]


def bound_name(name: str, side: Literal["low", "high"]) -> str:
    """Return the name of a share's bound: ``total_low/image`` for ``total/image``."""
    kind, _, of = name.partition("/")
    return f"{kind}_{side}{of and '/' + of}"


def share_ratios(components: Tensor, modalities: int) -> Tensor:
    """Divide components by the variance.

    Args:
        components: ``(..., 2 + 2 M + P)`` as a design gives them, already averaged over groups.
        modalities: M.

    Returns:
        ``(..., 2 M + P + 1)`` first-order shares, totals, pairs and the share of all interactions. First-order shares
        and interactions are divided by their own sum, so that they add up to 1; the others by the variance that came
        from the same differences, whose errors cancel. All are zero where the outputs do not vary.
    """
    first, interaction = components[..., 1 : 1 + modalities], components[..., -1:]
    parts = first.sum(-1, keepdim=True) + interaction
    variance = components[..., :1]
    rest = components[..., 1 + modalities : -1] / variance
    shares = torch.cat([first / parts, rest, interaction / parts], -1)
    # Written so that NaN stays NaN.
    return torch.where((variance <= 0) | (parts <= 0), 0.0, shares)


def contribution_shares(
    groups: Tensor, modalities: Sequence[str], pairs: Sequence[tuple[int, int]] = ()
) -> dict[str, Tensor]:
    """Estimate the contribution shares with their 95 % intervals.

    Args:
        groups: ``(G, 2 + 2 M + P)`` components of every group.
        modalities: M names.
        pairs: The P pairs of the components.

    Returns:
        Scalars by name: ``contribution/<m>``, ``total/<m>``, ``interaction`` and ``interaction/<a>+<b>``, their bounds
        (``total_low/<m>``, ``total_high/<m>``, likewise for the others) and ``weakest_total``.
    """
    estimate = jackknife(groups, lambda mean: share_ratios(mean, len(modalities)))
    values: dict[str, Tensor] = {}
    for name, value, low, high in zip(share_names(modalities, pairs), *estimate, strict=True):
        values |= {name: value, bound_name(name, "low"): low, bound_name(name, "high"): high}
    values["weakest_total"] = torch.stack([values[f"total/{name}"] for name in modalities]).min()
    return values
