"""Any result as plain data for JSON: the one rule by which tensors, dataclasses and settings become text."""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from mviz_lightning.errors.arguments import in_short

DIGITS = 6
"""Significant digits of a number: more than a float16 map holds and a picture shows."""

MOST_NUMBERS = 20_000
"""Largest number of entries of an array that is kept: 140 x 140 segments. A larger one is named by its shape."""


def plain_data(value: Any) -> Any:
    """Return a value as JSON takes it: null, numbers of 6 significant digits, texts, lists, and dicts by texts.

    A dataclass becomes a dict of its fields, a tensor or an array nested lists; NaN and infinities become null. Other
    objects (functions, metrics) become their names.

    Example:
        >>> plain_data({"share": 1 / 3, 2: float("nan"), "map": np.eye(2, dtype=int)})
        {'share': 0.333333, '2': None, 'map': [[1, 0], [0, 1]]}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Enum):
        return plain_data(value.value)
    if isinstance(value, int | float | np.generic):
        return _number(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        return _array(value)
    return _composed(value)


def _number(value: Any) -> Any:
    """Return a number with 6 significant digits; None where it is not finite."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool | str) or not isinstance(plain, int | float):
        return plain if isinstance(plain, bool | str) else in_short(plain)
    if isinstance(plain, int):
        return int(plain)
    return float(f"{plain:.{DIGITS}g}") if math.isfinite(plain) else None


def _array(values: Any) -> Any:
    """Return nested lists of an array; the shape in words of one that is too large to keep."""
    size = values.numel() if isinstance(values, torch.Tensor) else values.size
    if size > MOST_NUMBERS:
        return f"{size} numbers {tuple(values.shape)}"
    if isinstance(values, torch.Tensor):
        found = values.detach().cpu()
        return _nested(found.double().tolist() if found.is_floating_point() else found.tolist())
    return _nested(values.tolist())


def _nested(values: Any) -> Any:
    return [_nested(one) for one in values] if isinstance(values, list) else plain_data(values)


def _composed(value: Any) -> Any:
    """Return a dataclass, dict, list or set entry by entry; any other object by its name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain_data(getattr(value, one.name)) for one in fields(value) if not one.name.startswith("_")}
    if isinstance(value, Mapping):
        return {str(key): plain_data(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(one) for one in value]
    if isinstance(value, AbstractSet):
        return sorted(map(plain_data, value), key=repr)
    return str(value) if isinstance(value, PurePath) else _called(value)


def _called(value: Any) -> str:
    """Return the name of a function or a class, and the beginning of the text of any other object."""
    name = getattr(value, "__qualname__", None)
    try:
        return str(name) if isinstance(name, str) else in_short(value)
    except Exception:  # a ``__repr__`` of the user's own
        return f"<{type(value).__name__}>"
