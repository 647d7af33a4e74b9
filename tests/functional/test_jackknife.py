"""Intervals without further forward passes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from scipy import stats
from torch import Tensor

from mviz_lightning.functional import Deletions, jackknife

seeds = st.integers(0, 10_000)
counts = st.integers(2, 9)


def random_groups(seed: int, groups: int, values: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1 + torch.rand(groups, values, generator=generator, dtype=torch.float64)


def ratio(mean: Tensor) -> Tensor:
    return mean[..., 1:] / mean[..., :1]


@given(seeds, counts, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_equals_the_delete_one_loop(seed: int, groups: int, level: float) -> None:
    components = random_groups(seed, groups)

    found = jackknife(components, ratio, level)
    expected = slow.jackknife(components.numpy(), lambda mean: mean[1:] / mean[0], level)
    np.testing.assert_allclose(torch.stack(list(found)), np.array(expected), rtol=1e-9)


@given(seeds, counts)
def test_the_interval_of_a_mean_is_students(seed: int, groups: int) -> None:
    components = random_groups(seed, groups)
    found = jackknife(components, lambda mean: mean)

    error = components.std(0).numpy() / groups**0.5
    low, high = stats.t.interval(0.95, groups - 1, loc=components.mean(0).numpy(), scale=error)
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)


@given(seeds, counts, st.integers(2, 5), st.sampled_from([1.0, 2.0, 9.0]))
def test_with_deletions_no_interval_is_narrower_than_the_bound_in_loops(
    seed: int, groups: int, size: int, inflation: float
) -> None:
    components = random_groups(seed, groups)
    noise = random_groups(seed + 1, groups * size).view(groups, size, 3)
    deletions = Deletions(components.unsqueeze(1) + 0.3 * (noise - 1.5), inflation)

    found, plain = jackknife(components, ratio, deletions=deletions), jackknife(components, ratio)
    least = slow.least_half_width(
        components.numpy(), deletions.components.numpy(), inflation, lambda mean: mean[1:] / mean[0]
    )
    np.testing.assert_allclose(
        found.high - found.value, np.maximum((plain.high - plain.value).numpy(), least), rtol=1e-9
    )
    assert torch.equal(found.value, plain.value)


def test_deletions_that_change_nothing_change_no_interval() -> None:
    components = random_groups(0, 4)
    unchanged = Deletions(components.unsqueeze(1).expand(4, 5, 3), 2.0)

    for found, plain in zip(
        jackknife(components, ratio, deletions=unchanged), jackknife(components, ratio), strict=True
    ):
        torch.testing.assert_close(found, plain)


def test_groups_that_agree_leave_no_doubt() -> None:
    found = jackknife(torch.tensor([[2.0, 1.0]]).repeat(5, 1), ratio)

    assert [part.item() for part in found] == [0.5, 0.5, 0.5]


def test_one_group_gives_a_value_and_no_bounds() -> None:
    found = jackknife(torch.tensor([[2.0, 1.0]]), ratio)

    assert found.value.item() == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_nothing_is_clipped() -> None:
    components = torch.tensor([[1.0, 0.3], [1.0, -0.3], [1.0, -0.1]])

    found = jackknife(components, ratio)
    assert found.value < 0
    assert found.low < found.value < 0 < found.high


def test_a_higher_level_gives_a_wider_interval_around_the_same_value() -> None:
    wide, narrow = (jackknife(random_groups(0, 8), ratio, level) for level in (0.99, 0.5))

    assert torch.equal(wide.value, narrow.value)
    assert (wide.low < narrow.low).all()
    assert (wide.high > narrow.high).all()


def covered(half_width: float = 1.0, groups: int = 4) -> float:
    """How often the interval of four normal draws, of so many half-widths, holds their mean."""
    draws = torch.randn(3000, groups, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = [jackknife(draw, lambda mean: mean) for draw in draws]
    return float(np.mean([abs(part.value) <= half_width * (part.high - part.value) for part in found]))


def test_the_interval_of_few_normal_groups_covers_as_it_says() -> None:
    assert covered() == pytest.approx(0.95, abs=0.016)  # four standard errors


def test_an_interval_with_normal_quantiles_would_fail_that_test() -> None:
    assert covered(stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) < 0.92
