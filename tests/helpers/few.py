"""Tests of many cases that take long together: some are tried by default, others with the slow tests."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

DEFAULT = 4
"""Of the cases of a test marked as long, one in so many runs by default; the others are slow."""


def few(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Return the parameters of a test; all but the first few are marked as slow."""
    chosen = list(values)
    return chosen[:count] + [_slow(one) for one in chosen[count:]]


def spread(values: Iterable[Any], every: int) -> list[Any]:
    """Return the parameters of a test; all but one of each ``every`` are marked as slow."""
    return [_slow(one) if place % every else one for place, one in enumerate(values)]


def _slow(value: Any) -> Any:
    if hasattr(value, "marks"):
        return pytest.param(*value.values, id=value.id, marks=[*value.marks, pytest.mark.slow])
    return pytest.param(*(value if isinstance(value, tuple) else [value]), marks=pytest.mark.slow)


def slow_down(tests: Iterable[pytest.Item]) -> None:
    """Mark most cases of tests marked as long as slow."""
    for cases in _cases(test for test in tests if test.get_closest_marker("long")):
        for test in _others(cases, -(-len(cases) // DEFAULT)):
            test.add_marker(pytest.mark.slow)


def too_many(tests: Iterable[pytest.Item], limit: int) -> list[pytest.Item]:
    """Return the slow cases that are left out where no test may have more than a limit of them."""
    slow = _cases(test for test in tests if test.get_closest_marker("slow"))
    return [test for cases in slow for test in _others(cases, limit)]


def _cases(tests: Iterable[pytest.Item]) -> list[list[pytest.Item]]:
    """Return the cases of each test function."""
    found = defaultdict[str, list[pytest.Item]](list)
    for test in tests:
        found[test.nodeid.partition("[")[0]].append(test)
    return list(found.values())


def _others(cases: Sequence[pytest.Item], count: int) -> list[pytest.Item]:
    """Return all cases but a few that are evenly spread."""
    count = min(count, len(cases))
    chosen = {place * len(cases) // count for place in range(count)}
    return [case for place, case in enumerate(cases) if place not in chosen]
