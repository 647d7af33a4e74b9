"""How far a map is to be trusted, in words and in the strength of its colours."""

import math
from typing import Any

import numpy.typing as npt

from mviz_lightning.explainers.dime.result import TRUSTED

FADED = 0.25
"""Strength at which weights are drawn that are not to be trusted."""


def strength(r2: float) -> float:
    """Return 1 for weights that foretell unseen masks, less for others, 0 where nothing has an effect."""
    if math.isnan(r2):
        return 0.0
    return 1.0 if r2 >= TRUSTED else FADED


def verdict(r2: float) -> tuple[str, str]:
    """Return what stands below a map, and its colour."""
    if math.isnan(r2):
        return "no effect", "#555555"
    words = f"R\N{SUPERSCRIPT TWO} {r2:.2f}".replace("-0.00", "0.00")
    return (words, "#222222") if r2 >= TRUSTED else (f"{words}: not to be trusted", "#b03000")


def shown(weights: Any, r2: float) -> npt.NDArray[Any]:
    """Return ``(U,)`` weights as they are drawn."""
    faded: npt.NDArray[Any] = weights.numpy() * strength(r2)
    return faded
