"""UC, MI and EMAP of single predictions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from reference.worlds import World, deviation
from torch import Tensor

from mviz_lightning.functional import emap, multimodal_interaction, unimodal_contribution
from mviz_lightning.functional.uc_and_mi import own

Statistic = Callable[[Tensor], Tensor]
seeds = st.integers(0, 10_000)
sizes = st.integers(3, 7)
outputs = st.integers(1, 3)


def random_grid(seed: int, size: int, outputs: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, size, outputs, generator=generator, dtype=torch.float64)


def additive_grid(seed: int, size: int) -> Tensor:
    grid = random_grid(seed, size)
    return grid[:1] + grid[:, :1]


def project(grid: Tensor) -> Tensor:
    """The additive part of a whole grid, of which EMAP reads the diagonal."""
    return grid.mean(1, keepdim=True) + grid.mean(0, keepdim=True) - grid.mean((0, 1))


def test_emap_gives_the_worked_example_of_its_paper() -> None:
    grid = torch.tensor([[-1.3, 0.3, -0.2], [0.8, 3.0, 1.1], [1.1, -0.1, 0.7]], dtype=torch.float64)

    torch.testing.assert_close(emap(grid.unsqueeze(-1)).squeeze(-1), torch.tensor([-0.8, 2.1, 0.5]).double())


@given(seeds, sizes, outputs)
def test_emap_equals_its_algorithm_in_loops(seed: int, size: int, outputs: int) -> None:
    grid = random_grid(seed, size, outputs)

    np.testing.assert_allclose(emap(grid), slow.emap(grid.numpy()), atol=1e-12)


@given(seeds, sizes)
def test_emap_is_the_least_squares_fit_on_rows_and_columns(seed: int, size: int) -> None:
    grid = random_grid(seed, size)
    fitted = torch.from_numpy(slow.least_squares(grid.numpy()))

    torch.testing.assert_close(emap(grid), own(fitted))
    torch.testing.assert_close(project(grid), fitted)


@given(seeds, sizes)
def test_emap_of_a_projected_model_changes_nothing(seed: int, size: int) -> None:
    grid = random_grid(seed, size)

    torch.testing.assert_close(emap(project(grid)), emap(grid))
    torch.testing.assert_close(emap(project(grid)), own(project(grid)))


@given(seeds, sizes, outputs)
def test_uc_equals_its_definition_in_loops(seed: int, size: int, outputs: int) -> None:
    grid = random_grid(seed, size, outputs)

    np.testing.assert_allclose(unimodal_contribution(grid), slow.unimodal_contribution(grid.numpy()), atol=1e-12)


@given(seeds, sizes)
def test_uc_and_the_mean_second_difference_add_up_to_the_outputs(seed: int, size: int) -> None:
    grid = random_grid(seed, size)
    interaction = torch.from_numpy(slow.multimodal_interaction(grid.numpy()))

    torch.testing.assert_close(unimodal_contribution(grid) + interaction, own(grid))
    torch.testing.assert_close(multimodal_interaction(grid), interaction)


@given(seeds, sizes)
def test_uc_of_an_additive_model_is_the_model(seed: int, size: int) -> None:
    grid = additive_grid(seed, size)

    torch.testing.assert_close(unimodal_contribution(grid), own(grid), rtol=0, atol=1e-12)


@given(seeds, sizes)
def test_uc_of_a_model_with_interactions_is_not_the_model(seed: int, size: int) -> None:
    grid = random_grid(seed, size)

    assert (unimodal_contribution(grid) - own(grid)).abs().max() > 1e-3


@given(seeds, sizes, st.floats(-1e3, 1e3))
def test_a_constant_moves_uc_by_itself(seed: int, size: int, constant: float) -> None:
    grid = random_grid(seed, size)

    torch.testing.assert_close(unimodal_contribution(grid + constant), unimodal_contribution(grid) + constant)


@given(seeds, sizes)
def test_relabelled_examples_take_their_uc_and_outputs_along(seed: int, size: int) -> None:
    grid = random_grid(seed, size)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    relabelled = grid[order][:, order]

    torch.testing.assert_close(unimodal_contribution(relabelled), unimodal_contribution(grid)[order])
    assert torch.equal(own(relabelled), own(grid)[order])


@pytest.mark.parametrize("function", [emap, own, unimodal_contribution])
def test_leading_dimensions_are_carried_along(function: Statistic) -> None:
    grids = torch.stack([random_grid(seed, 4) for seed in range(6)]).view(2, 3, 4, 4, 2)

    found = function(grids)

    assert found.shape == (2, 3, 4, 2)
    torch.testing.assert_close(found[1, 2], function(grids[1, 2]))


def world_grids() -> tuple[Tensor, Tensor]:
    """Many grids of four correlated examples, and the exact UC of their real pairs."""
    world = World.random(2, seed=3)
    examples = world.examples(groups=20_000, size=4, seed=4)
    first, second = examples.unbind(-1)
    grids = world.table[first[:, :, None], second[:, None, :]]
    return grids, world.unimodal_truth()[first, second]


def own_uc_error(found: Tensor, truth: Tensor) -> float:
    """How many standard errors UC is off, at worst, where it is projected on its own truth and on a constant."""
    error = found - truth
    against = torch.stack([error.mean(1), (error * truth).mean(1)], -1).flatten(1)
    return float(deviation(against, 0.0).max())


def test_uc_is_unbiased_for_correlated_examples() -> None:
    grids, truth = world_grids()

    assert own_uc_error(unimodal_contribution(grids), truth) < 4


def test_emap_among_its_own_donors_fails_that_test() -> None:
    grids, truth = world_grids()

    assert own_uc_error(emap(grids), truth) > 10


def interaction_slope(function: Statistic, size: int) -> float:
    """What remains of a pure product's MI, by regression on its truth."""
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(2, 40_000, size, 1, generator=generator, dtype=torch.float64)
    grids = x.unsqueeze(-2) * y.unsqueeze(-3)
    interaction = own(grids) - function(grids)
    return float((interaction * x * y).sum() / (x * y).square().sum())


def test_mi_of_a_product_keeps_its_size() -> None:
    assert interaction_slope(unimodal_contribution, 4) == pytest.approx(1, abs=0.02)


def test_own_donors_shrink_mi_by_the_published_factor() -> None:
    assert interaction_slope(emap, 4) == pytest.approx((1 - 1 / 4) ** 2, abs=0.02)
