"""Random batches and models: every number is that of a slow computation of the same recombined rows."""

import warnings
from math import isnan

import pytest
from fuzzing.cases import Case, cases, measured
from hypothesis import Phase, given, seed, settings

AS_DRAWN = (Phase.explicit, Phase.generate)
"""A case that fails is shown as it was drawn: to simplify it takes minutes."""


def check(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small data are warned of
        found, expected, groups = measured(case)
    assert groups.numel() == len(set(groups.flatten().tolist()))
    compared = {name: value for name, value in expected.items() if not isnan(value)}
    assert {name: found.get(name) for name in compared} == pytest.approx(compared, rel=1e-4, abs=1e-4)


@given(case=cases())
@settings(max_examples=2, phases=AS_DRAWN)
def test_numbers_of_random_batches_are_those_of_a_slow_reference(case: Case) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_numbers_of_many_random_batches_are_those_of_a_slow_reference(part: int) -> None:
    @seed(part)
    @given(case=cases())
    @settings(max_examples=50, phases=AS_DRAWN, derandomize=False)
    def examine(case: Case) -> None:
        check(case)

    examine()
