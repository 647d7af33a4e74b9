"""Whether a map is reliable, in words and in the strength of its colours."""

import math
from typing import Any

import numpy.typing as npt

from mviz_lightning.functional.numerals import fixed

TRUSTED = 0.2
"""Leave-one-out R² from which on an explanation is trusted."""

FADED = 0.25
"""Strength of the colours of weights that are not trusted; 1 is full strength."""


def strength(r2: float) -> float:
    """Return the strength of a map's colours, from its R² on held-out masks: 1, ``FADED``, or 0 for no effect (NaN)."""
    if math.isnan(r2):
        return 0.0
    return 1.0 if r2 >= TRUSTED else FADED


def verdict(r2: float) -> tuple[str, str]:
    """Return what stands below a map, and its colour."""
    if math.isnan(r2):
        return "no effect", "#555555"
    words = f"R\N{SUPERSCRIPT TWO} {fixed(r2, 2)}"
    return (words, "#222222") if r2 >= TRUSTED else (f"{words}: unreliable", "#b03000")


def shown(weights: Any, r2: float) -> npt.NDArray[Any]:
    """Return ``(U,)`` weights as they are drawn."""
    faded: npt.NDArray[Any] = weights.numpy() * strength(r2)
    return faded
