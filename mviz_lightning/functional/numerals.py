"""Format numbers: how many decimals are written, and which numbers are rounding."""

import math
from collections.abc import Sequence

ROUNDING = 1e-6
"""Largest number that may be rounding, relative to the largest number beside it: about 8 eps of float32."""

DIGITS = 4
"""Number of significant digits of values with a unit, such as regression outputs."""


def fixed(value: float, decimals: int, sign: str = "") -> str:
    """Return a number with this many decimals; never ``-0.00``.

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
    """Return a share in percent; never ``-0.0%``.

    Example:
        >>> percent(0.25), percent(-1e-9), percent(0.5, 0)
        ('25.0%', '0.0%', '50%')
    """
    return f"{fixed(100 * share, decimals)}%"


def is_rounding(value: float, beside: float) -> bool:
    """Return whether a number may be only rounding of the number beside it.

    Example:
        >>> is_rounding(2.2e-16, 1.31), is_rounding(2.2e-16, 1e-12)
        (True, False)
    """
    return abs(value) <= ROUNDING * abs(beside)


def side_by_side(values: Sequence[float], decimals: int | None = None, digits: int = DIGITS) -> list[str]:
    """Return numbers of one unit as text, such as a sum and its parts; a number that may be rounding is ``0``.

    Args:
        values: The numbers.
        decimals: Digits after the point; None chooses them so that the largest number has ``digits`` digits.
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
