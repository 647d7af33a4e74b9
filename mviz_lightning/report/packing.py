"""Weights in few letters: 16-bit floats in base64, which take 73 % of the same numbers as JSON."""

import base64
from typing import Any

import numpy as np

FEWEST = 8
"""Numbers from which on a list is packed; a shorter one is shorter as JSON."""

PACKED = {
    "dime": ("weights",),
    "importance": ("weights",),
    "cross_modal": ("pairs",),
    "representation": ("parts", "all_shares"),
    "positions": ("effects",),
}
"""Kind of a result -> its fields with weights. All other numbers stay as they are in the files."""


def packed_weights(explanation: dict[str, Any]) -> dict[str, Any]:
    """Return a line of ``explanations.jsonl`` with its weights packed."""
    fields = PACKED.get(explanation.get("result", ""), ())
    return explanation | {name: _packed(explanation[name]) for name in fields if name in explanation}


def pack_numbers(values: Any) -> dict[str, Any]:
    """Pack numbers, relative to the largest of them: each is rounded to 11 binary digits.

    Args:
        values: ``(N,)`` or ``(N, ...)`` numbers, or nested lists of them; None is a missing value.

    Returns:
        ``f16`` (base64 of little-endian 16-bit floats in -1..1), ``scale`` (what they are multiplied by) and ``shape``.

    Example:
        >>> pack_numbers([1e6, -5e5])
        {'f16': 'ADwAuA==', 'scale': 1000000.0, 'shape': [2]}
    """
    numbers = np.array(values, dtype=np.float64)
    finite = np.abs(numbers[np.isfinite(numbers)])
    scale = float(finite.max()) if finite.size and finite.max() else 1.0
    data = (numbers / scale).astype("<f2").tobytes()
    return {"f16": base64.b64encode(data).decode("ascii"), "scale": scale, "shape": list(numbers.shape)}


def _packed(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _packed(value) for name, value in found.items()}
    if not isinstance(found, list):
        return found
    return pack_numbers(found) if _is_packable(found) else [_packed(value) for value in found]


def _is_packable(found: list[Any]) -> bool:
    """Return whether a list holds many numbers and nothing else, in rows of one length."""
    rows = found if found and all(isinstance(row, list) for row in found) else [found]
    flat = [value for row in rows for value in row]
    plain = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in flat)
    return plain and len({len(row) for row in rows}) == 1 and len(flat) >= FEWEST
