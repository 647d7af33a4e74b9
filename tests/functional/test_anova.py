"""Variance components over grids."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from reference.worlds import World, deviation
from torch import Tensor

from mviz_lightning.functional import half_splits, split_components, two_way_components
from mviz_lightning.functional.anova import half_squared_distances, split_components_without_each

seeds = st.integers(0, 10_000)


def random_grids(seed: int, size: int, count: int = 1, outputs: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, size, outputs, generator=generator, dtype=torch.float64)


@given(seeds, st.integers(2, 6), st.integers(1, 3))
def test_two_way_components_equal_the_anova_in_loops(seed: int, size: int, outputs: int) -> None:
    grid = random_grids(seed, size, outputs=outputs)[0]

    np.testing.assert_allclose(two_way_components(grid), slow.two_way_components(grid.numpy()), atol=1e-12)


@given(seeds, st.integers(4, 7))
def test_split_components_equal_the_anova_of_both_orientations(seed: int, size: int) -> None:
    grid, splits = random_grids(seed, size)[0], half_splits(size, 3, seed)

    np.testing.assert_allclose(
        split_components(grid, splits), slow.split_components(grid.numpy(), splits.numpy()), atol=1e-12
    )


@given(seeds, st.integers(4, 8))
def test_the_interaction_of_an_additive_grid_is_zero(seed: int, size: int) -> None:
    rows, columns = random_grids(seed, size)[0, :1], random_grids(seed + 1, size)[0, :, :1]

    assert abs(split_components(rows + columns, half_splits(size, 4))[2]) < 1e-12


@given(seeds, st.integers(4, 8), st.floats(-1e3, 1e3))
def test_a_constant_changes_no_component(seed: int, size: int, constant: float) -> None:
    grid, splits = random_grids(seed, size)[0], half_splits(size, 4)

    torch.testing.assert_close(
        split_components(grid + constant, splits), split_components(grid, splits), rtol=1e-9, atol=1e-9
    )


@given(seeds, st.integers(4, 8))
def test_transposing_a_grid_swaps_its_first_order_components(seed: int, size: int) -> None:
    grid, splits = random_grids(seed, size)[0], half_splits(size, 4)
    first, second, both = split_components(grid, splits)

    found = split_components(grid.transpose(0, 1), splits)
    torch.testing.assert_close(found, torch.stack([second, first, both]))


@given(seeds, st.integers(4, 8))
def test_relabelled_examples_with_relabelled_splits_give_the_same_components(seed: int, size: int) -> None:
    grid, splits = random_grids(seed, size)[0], half_splits(size, 4)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    where = torch.argsort(order)

    torch.testing.assert_close(split_components(grid[order][:, order], where[splits]), split_components(grid, splits))


def test_components_of_several_grids_are_those_of_each() -> None:
    grids, splits = random_grids(0, 6, count=5), half_splits(6, 4)

    together = split_components(grids, splits)

    torch.testing.assert_close(together, torch.stack([split_components(grid, splits) for grid in grids]))


@given(seeds, st.integers(4, 17), st.integers(1, 20))
def test_half_splits_share_no_example_and_repeat_none(seed: int, size: int, count: int) -> None:
    splits = half_splits(size, count, seed)

    assert splits.shape == (count, 2, size // 2)
    assert all(len(split.unique()) == 2 * (size // 2) for split in splits)
    assert splits.min() >= 0
    assert splits.max() < size


def test_half_splits_repeat_with_their_seed_and_change_with_another() -> None:
    assert torch.equal(half_splits(16, 8, 1), half_splits(16, 8, 1))
    assert not torch.equal(half_splits(16, 8, 1), half_splits(16, 8, 2))


def test_half_splits_leave_every_example_of_an_odd_group_in_sometimes() -> None:
    assert len(half_splits(5, 16).unique()) == 5


def test_half_splits_draw_from_no_global_generator() -> None:
    before = torch.random.get_rng_state()

    half_splits(8, 4)

    assert torch.equal(torch.random.get_rng_state(), before)


@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_half_squared_distances_equal_their_loop(seed: int, rows: int, outputs: int) -> None:
    left, right = torch.randn(2, rows, outputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    distances = [sum((left[r, c] - right[r, c]) ** 2 for c in range(outputs)) for r in range(rows)]

    torch.testing.assert_close(half_squared_distances(left, right).mean(-1), sum(distances) / rows / 2)


@given(seeds, st.integers(6, 9), st.integers(1, 3))
def test_without_each_example_the_components_are_those_of_smaller_halves(seed: int, size: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(2, size, size, outputs, generator=generator, dtype=torch.float64)
    splits = half_splits(size, 3, seed)

    found = split_components_without_each(grid, splits)
    expected = [
        [slow.split_components(one.numpy(), splits.numpy(), example) for example in range(size)] for one in grid
    ]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-12)


def world_grids(*, same_examples: bool) -> tuple[Tensor, Tensor]:
    """Many grids over correlated examples, rows and columns from the same or from other ones; the exact components."""
    world = World.random(2, seed=1)
    examples = world.examples(groups=4000, size=8, seed=2)
    rows = examples[..., 0] if same_examples else world.examples(groups=4000, size=8, seed=3)[..., 0]
    truth = world.truth()[[1, 2, -1]]
    return world.table[rows[:, :, None], examples[..., 1][:, None, :]], truth


def test_two_way_components_are_unbiased_between_different_examples() -> None:
    grids, truth = world_grids(same_examples=False)

    assert deviation(two_way_components(grids), truth).max() < 4


def test_split_components_are_unbiased_within_a_group_of_correlated_examples() -> None:
    grids, truth = world_grids(same_examples=True)

    assert deviation(split_components(grids, half_splits(8, 8)), truth).max() < 4


def test_the_textbook_anova_on_the_whole_grid_fails_that_test() -> None:
    grids, truth = world_grids(same_examples=True)

    assert deviation(two_way_components(grids), truth).max() > 10


def test_examples_in_both_halves_fail_that_test() -> None:
    grids, truth = world_grids(same_examples=True)
    overlapping = half_splits(8, 8)
    overlapping[:, 1, :2] = overlapping[:, 0, :2]

    assert deviation(split_components(grids, overlapping), truth).max() > 10


def squared_difference(correlation: float) -> Tensor:
    """``(groups, 8, 8, 1)`` grids of ``(x - y)^2`` with unit normal x and y."""
    generator = torch.Generator().manual_seed(6)
    x, noise = torch.randn(2, 40_000, 8, generator=generator, dtype=torch.float64)
    y = correlation * x + (1 - correlation**2) ** 0.5 * noise
    return (x.unsqueeze(2) - y.unsqueeze(1)).square().unsqueeze(-1)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_a_squared_difference_has_components_two_two_and_four(correlation: float) -> None:
    found = split_components(squared_difference(correlation), half_splits(8, 4))

    assert deviation(found, torch.tensor([2.0, 2.0, 4.0])).max() < 4


def test_the_textbook_anova_reads_them_as_one_one_and_five() -> None:
    # Measured: (0.97, 1.00, 5.04) for groups of eight.
    found = two_way_components(squared_difference(0.9)).mean(0)

    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 5.0]).double(), rtol=0, atol=0.1)
