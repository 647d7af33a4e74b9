"""Results as plain data for JSON, and as short text for a console."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from mviz_lightning.errors.arguments import in_short

SCALARS = frozenset({float, int, bool, str, type(None)})
"""Types that need no conversion."""

LONGEST = 300
"""Largest number of characters of a result's ``repr``: three lines of a console."""

LISTED = 3
"""Largest number of entries of a list or dict in a ``repr``; of a longer one, only the number of entries is shown."""

LONGEST_TEXT = 60
"""Largest number of characters of a text within a ``repr``."""


def plain_data(value: Any, digits: int | None = None, most: int | None = None) -> Any:
    """Return a value as dicts, lists, texts and numbers, so that ``json.dumps(..., allow_nan=False)`` takes it.

    A dataclass becomes a dict of its public fields, a tensor nested lists, an enum its value, a function its name. NaN
    and infinities become None, because JSON has neither. Any other object becomes a short text.

    Args:
        value: Anything.
        digits: Significant digits to which numbers are rounded; None for all.
        most: Largest number of entries of an array; a larger array becomes its shape as text. None for no limit.

    Example:
        >>> import torch
        >>> plain_data({"weights": torch.tensor([0.123456789, float("nan")]), "at": (1, True)}, digits=6)
        {'weights': [0.123457, None], 'at': [1, True]}
    """
    if type(value) in SCALARS:  # most entries of a map are numbers
        return _scalar(value, digits)
    return _composed(value, digits, most)


def _composed(value: Any, digits: int | None, most: int | None) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain_data(getattr(value, entry.name), digits, most) for entry in public_fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_data(one, digits, most) for key, one in value.items()}
    if callable(getattr(value, "tolist", None)) and not isinstance(value, type):  # tensors, arrays, NumPy's numbers
        size = math.prod(value.shape)
        large = most is not None and size > most
        return f"{size} numbers {tuple(value.shape)}" if large else plain_data(value.tolist(), digits, most)
    if isinstance(value, AbstractSet):
        return sorted((plain_data(one, digits, most) for one in value), key=repr)
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
    return [plain_data(one, digits, most) for one in value] if listed else _scalar(value, digits)


def _scalar(value: Any, digits: int | None) -> Any:
    if isinstance(value, Enum):
        return _scalar(value.value, digits)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Real):
        return _number(value, digits)
    return str(value) if isinstance(value, str | PurePath) else _called(value)


def _called(value: Any) -> str:
    """Return the name of a function or a class, and the beginning of the text of any other object."""
    name = getattr(value, "__qualname__", None)
    try:
        return name if isinstance(name, str) else in_short(value)
    except Exception:  # a user's ``__repr__``
        return f"<{type(value).__name__}>"


def _number(value: Real, digits: int | None) -> Any:
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        return None
    return number if digits is None else float(f"{number:.{digits}g}")


def public_fields(value: Any) -> list[Field[Any]]:
    """Return the public fields of a dataclass that its ``repr`` contains."""
    return [entry for entry in fields(value) if entry.repr and not entry.name.startswith("_")]


class Brief:
    """A dataclass whose ``repr`` is one to three lines: tensors by their shapes, lists by their lengths.

    Subclasses inherit this ``repr``, although ``dataclass`` writes one for each class without a ``repr`` of its own.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__repr__" not in cls.__dict__:  # dataclass does not replace it
            cls.__repr__ = Brief.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        named = ", ".join(f"{entry.name}={brief(getattr(self, entry.name))}" for entry in public_fields(self))
        return cut(f"{type(self).__name__}({named})", LONGEST)


def brief(value: Any) -> str:
    """Return a value in a few words: numbers with four digits, a tensor by its shape, a long list by its length.

    Example:
        >>> import torch
        >>> brief([0.123456, torch.zeros(7, 7), "red question mark"])
        "[0.1235, <Tensor (7, 7)>, 'red question mark']"
        >>> brief(dict.fromkeys(range(20)))
        '{20 entries}'
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return cut(repr(value), LONGEST_TEXT)
    if isinstance(value, Mapping):
        few = len(value) <= LISTED
        return "{%s}" % (
            ", ".join(f"{_key(key)}: {_within(one)}" for key, one in value.items()) if few else f"{len(value)} entries"
        )
    if isinstance(value, list | tuple):
        few = len(value) <= LISTED
        return "[%s]" % (", ".join(map(_within, value)) if few else f"{len(value)} entries")
    return _within(value)


def _key(key: Any) -> str:
    return cut(repr(key), LONGEST_TEXT)


def _within(value: Any) -> str:
    """Return an entry of a list in a few words; for a result within a result, only its type."""
    if isinstance(value, Enum):
        return value.name.lower()
    if is_dataclass(value) and not isinstance(value, type):
        return f"<{type(value).__name__}>"
    if isinstance(value, float | str):
        return brief(value)
    if isinstance(value, Mapping | list | tuple):
        return f"<{len(value)} entries>" if value else repr(value)
    return cut(_called(value), LONGEST_TEXT)


def cut(text: str, longest: int) -> str:
    """Return a text of up to ``longest`` characters; a longer one is cut and ends with an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
