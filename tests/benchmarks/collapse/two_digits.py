"""Tasks on two digits, each seen in a view of its own: many classes, rare labels, partners, one of forty."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

PAIRS = {"train": 4000, "validation": 1000}
RARE = 500
"""Number of rare labels, each of two digits for the first modality's and two for the second's."""

OUTPUTS = {"hundred": 100, "four_hundred": 400, "rare": RARE, "partners": 4, "one_of_40": 40}
"""What is asked -> number of outputs."""


def two_digits(
    views: Mapping[str, Tensor], labels: Tensor, parts: Mapping[str, Tensor], task: str, generator: torch.Generator
) -> dict[str, dict[str, Tensor]]:
    """Return both splits of examples that show one digit in the first view and another in the second.

    Args:
        views: Modality -> ``(N, D)`` standardised features of all digits.
        labels: ``(N,)`` the digits.
        parts: Split -> the digits it may show.
        task: A name in :data:`OUTPUTS`.
        generator: Draws the pairs.
    """
    splits = {}
    for split, rows in parts.items():
        drawn = {view: rows[torch.randint(len(rows), (PAIRS[split],), generator=generator)] for view in views}
        shown = {view: views[view][chosen] for view, chosen in drawn.items()}
        digits = [labels[chosen] for chosen in drawn.values()]
        if task == "four_hundred":
            shown, digits = _negated(shown, digits, generator)
        splits[split] = shown | {"label": _asked(task, *digits)}
    return splits


def _negated(
    shown: Mapping[str, Tensor], digits: list[Tensor], generator: torch.Generator
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Show half of all digits as negatives, which are ten further classes."""
    negative = [torch.rand(len(found), generator=generator) < 0.5 for found in digits]
    signs = [1 - 2 * found.float()[:, None] for found in negative]
    views = {view: values * sign for (view, values), sign in zip(shown.items(), signs, strict=True)}
    return views, [digit + 10 * found for digit, found in zip(digits, negative, strict=True)]


def _asked(task: str, first: Tensor, second: Tensor) -> Tensor:
    """Return the labels."""
    if task == "partners":  # what only both tell together, and what the first tells alone
        return 2 * (first > 4).long() + (first + second) % 2
    if task == "one_of_40":
        return torch.cat([_subsets(39, 5)[:, first].T, (second % 2).float()[:, None]], 1)
    if task == "rare":
        return (_subsets(RARE, 2, seed=1)[:, first] * _subsets(RARE, 2, seed=2)[:, second]).T.contiguous()
    return first * (10 if task == "hundred" else 20) + second


def _subsets(count: int, size: int, seed: int = 0) -> Tensor:
    """Return ``(count, 10)`` random sets of so many digits."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.permuted(np.tile(np.arange(10) < size, (count, 1)), axis=1)).float()
