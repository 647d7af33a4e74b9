"""How numbers are written: with which decimals, and which of them are rounding."""

import math
from collections.abc import Sequence

ROUNDING = 1e-6
"""Largest number that may be rounding, relative to the largest beside it: 8 roundings (eps) of 32-bit numbers."""

DIGITS = 4
"""Digits of a value in a unit of its own, such as a regression's."""


def fixed(value: float, decimals: int, sign: str = "") -> str:
    """Write a number with this many decimals; never ``-0.00``.

    Args:
        value: The number.
        decimals: Digits after the point.
        sign: ``"+"`` to write the sign of positive numbers too.

    Example:
        >>> fixed(-0.0004, 3), fixed(0.25, 2, "+")
        ('0.000', '+0.25')
    """
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"


def percent(share: float, decimals: int = 1) -> str:
    """Write a share as per cent; never ``-0.0%``.

    Example:
        >>> percent(0.25), percent(-1e-9), percent(0.5, 0)
        ('25.0%', '0.0%', '50%')
    """
    return f"{fixed(100 * share, decimals)}%"


def is_rounding(value: float, beside: float) -> bool:
    """Return whether a number may be nothing but rounding of the number beside it.

    Example:
        >>> is_rounding(2.2e-16, 1.31), is_rounding(2.2e-16, 1e-12)
        (True, False)
    """
    return abs(value) <= ROUNDING * abs(beside)


def side_by_side(values: Sequence[float], decimals: int | None = None, digits: int = DIGITS) -> list[str]:
    """Write numbers of one unit that are read together, such as a sum and its parts; one that may be rounding is 0.

    Args:
        values: The numbers.
        decimals: Digits after the point; None for as many as give the largest number ``digits`` digits.
        digits: Digits of the largest number.

    Example:
        >>> side_by_side([1.31, 1.31, 2.2e-16])
        ['1.31', '1.31', '0']
        >>> side_by_side([10.712, 0.5325, 10.1795], decimals=2)
        ['10.71', '0.53', '10.18']
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    kept = [0.0 if is_rounding(value, largest) else value for value in values]
    if decimals is not None:
        return [fixed(value, decimals) if value else "0" for value in kept]
    last = digits - 1 - math.floor(math.log10(largest)) if largest else 0
    return [f"{round(value, last) + 0.0:.{digits}g}" for value in kept]
