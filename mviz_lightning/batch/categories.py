"""Leaves whose values name groups of examples: strings, whole numbers, booleans."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mviz_lightning.batch.rows import describe_leaf


def categories_of(leaf: Any) -> list[str | None]:
    """Return the category of every example as a text; None if it has no value (None, NaN, an empty string).

    Args:
        leaf: A leaf with one value for each example: ``(N,)`` or ``(N, 1)`` tensor or array, or a list of N values.

    Raises:
        ValueError: The leaf contains several values per example, real numbers, or other objects; the message names the
            case.
    """
    entries = _entries(leaf)
    real = [entry for entry in entries if isinstance(entry, float) and not (entry.is_integer() or math.isnan(entry))]
    if real:
        raise ValueError(f"holds real numbers, such as {real[0]:.4g}, which form no groups; cut them into ranges")
    return [_category(entry) for entry in entries]


def _entries(leaf: Any) -> list[Any]:
    if isinstance(leaf, Tensor | np.ndarray):
        if math.prod(leaf.shape[1:]) != 1:
            raise ValueError(f"{describe_leaf(leaf)} holds several values for each example; give a leaf of one")
        return list(leaf.reshape(-1).tolist())
    entries: Sequence[Any] = leaf if isinstance(leaf, list | tuple) else [leaf]
    return [_plain(entry) for entry in entries]


def _plain(entry: Any) -> Any:
    scalar = isinstance(entry, Tensor | np.ndarray | np.generic) and math.prod(entry.shape) == 1
    value = entry.item() if scalar else entry
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"holds objects of type {type(value).__name__}; give strings, whole numbers or booleans")
    return value


def _category(entry: str | float | None) -> str | None:
    if isinstance(entry, float):
        return None if math.isnan(entry) else str(int(entry))
    return None if entry in (None, "") else str(entry)
