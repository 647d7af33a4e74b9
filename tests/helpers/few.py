"""Parameters of tests that take long together: some are tried by default, all of them with the long tests."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def few(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return the parameters of a test; all but the first few are marked as slow."""
    chosen = list(values)
    return chosen[:count] + [_slow(one) for one in chosen[count:]]


def spread(values: Iterable[Any], every: int) -> list[Any]:
    """Return the parameters of a test; all but one of each ``every`` are marked as slow."""
    return [_slow(one) if place % every else one for place, one in enumerate(values)]


def trials(values: Sequence[Any]) -> Sequence[Any]:
    """Return the parts of many trials; with ``ONE_TRIAL_IN=4``, as in CI for the time, one in four."""
    return values[:: int(os.environ.get("ONE_TRIAL_IN", "1"))]


def _slow(value: Any) -> Any:
    if hasattr(value, "marks"):
        return pytest.param(*value.values, id=value.id, marks=[*value.marks, pytest.mark.slow])
    return pytest.param(*(value if isinstance(value, tuple) else [value]), marks=pytest.mark.slow)
