"""How numbers are written: never -0, equal decimals side by side, and rounding as 0."""

import math

import pytest

from mviz_lightning.functional.numerals import fixed, is_rounding, percent, side_by_side


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "written"),
    [
        (-1e-9, 2, "", "0.00"),
        (-0.0, 0, "", "0"),
        (-1e-9, 3, "+", "+0.000"),
        (1.25, 3, "+", "+1.250"),
        (-2, 1, "", "-2.0"),
    ],
)
def test_a_number_is_never_minus_zero(value, decimals, sign, written):
    assert fixed(value, decimals, sign) == written


def test_a_share_is_never_minus_zero_percent():
    assert [percent(-1e-9), percent(0.1234), percent(-0.5, 0)] == ["0.0%", "12.3%", "-50%"]


@pytest.mark.parametrize(
    ("values", "options", "written"),
    [
        ([1.31, 1.31, 2.22e-16, 8.41e-16], {}, ["1.31", "1.31", "0", "0"]),
        ([10.71, 0.5325, 10.1775, 2.0403], {}, ["10.71", "0.53", "10.18", "2.04"]),
        ([2e-5, -1.5e-5, 3.5e-5], {}, ["2e-05", "-1.5e-05", "3.5e-05"]),
        ([6.06, 6.06, -1e-17], {"decimals": 2}, ["6.06", "6.06", "0"]),
        ([6.06, 6.063, -0.003], {"decimals": 2}, ["6.06", "6.06", "0.00"]),
        ([2.4526, 2.4526], {"digits": 3}, ["2.45", "2.45"]),
        ([123456.0, 0.25], {}, ["1.235e+05", "0"]),
        ([0.0], {}, ["0"]),
        ([math.nan, 1.0], {}, ["nan", "1"]),
        ([], {}, []),
    ],
)
def test_numbers_side_by_side_have_the_decimals_of_the_largest(values, options, written):
    assert side_by_side(values, **options) == written


def test_rounding_is_relative_to_what_is_beside_it():
    assert is_rounding(1e-7, 1.0)
    assert not is_rounding(1e-7, 1e-2)
    assert not is_rounding(1e-5, 1.0)
