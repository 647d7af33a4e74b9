"""Parameters of tests that take seconds each: a few are tried by default, all of them with the long tests."""

from collections.abc import Iterable
from typing import Any

import pytest


def few(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return the parameters of a test; all but the first few are marked as slow."""
    chosen = list(values)
    return chosen[:count] + [_slow(one) for one in chosen[count:]]


def _slow(value: Any) -> Any:
    several = isinstance(value, tuple)
    return pytest.param(*(value if several else [value]), marks=pytest.mark.slow)
