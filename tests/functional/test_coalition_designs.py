"""Which rows give the values of coalitions, against donors in a loop and against enumerated expectations."""

import numpy as np
import pytest
import torch
from helpers.draws import normal
from reference import coalitions as slow
from reference.importance import shapley_of_subsets
from reference.worlds import World, deviation
from torch import Tensor

from mviz_lightning.functional import (
    CoalitionDesign,
    all_coalitions,
    coalition_design,
    full_coalition_design,
    intershap,
    multimodal_interaction,
    shapley_estimate,
    shapley_interactions,
)
from mviz_lightning.functional.coalition_designs import BUDGET, PermutationCoalitions

FULL = [(2, 8), (3, 12), (4, 16), (5, 20)]
ANY = [*FULL, (7, 28)]


def asked(design: CoalitionDesign, levels: Tensor) -> Tensor:
    """Take every tuple of a design from ``(..., g, M)`` examples: ``(..., T, M)``."""
    return levels[..., design.tuples, torch.arange(design.modalities)]


def additive(rows: Tensor) -> Tensor:
    """Return ``(..., T, 2)`` outputs that are sums over modalities."""
    return torch.stack([rows.sin().sum(-1), (2 * rows).cos().sum(-1)], -1)


def truth_of(world: World, levels: list[int]) -> np.ndarray:
    """``(M, C)``: the Shapley values of one kind of example over the product of the marginals."""
    table, found = world.table.numpy(), []
    for output in range(table.shape[-1]):
        game = lambda s, c=output: float(slow.expected_value(table, world.marginals, levels, sorted(s))[c])
        found.append(shapley_of_subsets(game, len(levels)))
    return np.array(found).T


def test_values_of_two_modalities_are_those_of_donors_in_a_loop() -> None:
    grid = normal(0, 6, 6, 2)
    found = full_coalition_design(2, 6).values(grid.flatten(0, 1))
    assert found.shape == (6, 1, 4, 2)
    for example in range(6):
        for place, coalition in enumerate([(), (0,), (1,), (0, 1)]):
            expected = slow.grid_value(grid.numpy(), example, coalition)
            np.testing.assert_allclose(found[example, 0, place].numpy(), expected, atol=1e-12)


def test_shapley_values_of_two_modalities_are_u_and_half_of_mi() -> None:
    grid = normal(1, 3, 8, 8, 2)
    design = full_coalition_design(2, 8)
    values, phi = design.values(grid.flatten(1, 2)), design.shapley(grid.flatten(1, 2))
    for m in (0, 1):
        alone = values[..., 1 + m, :] - values[..., 0, :]
        torch.testing.assert_close(phi[..., m, :], alone + multimodal_interaction(grid).unsqueeze(2) / 2)


def test_two_modalities_need_no_rows_beside_those_of_the_shares() -> None:
    assert len(coalition_design(2, 16).tuples) == 16 * 16


@pytest.mark.parametrize(("modalities", "size"), [case for case in FULL if case[0] > 2])
def test_tuples_hold_the_coalition_and_a_donor_of_its_own_for_every_other(modalities: int, size: int) -> None:
    design = full_coalition_design(modalities, size)
    places = torch.arange(len(design.tuples), dtype=torch.float64).unsqueeze(1)
    numbers = design.values(places)[..., 0].long()  # of each value, the row that it is read from
    draws = numbers.shape[1]
    for example in range(size):
        for draw in range(draws):
            for mask, number in zip(all_coalitions(modalities), numbers[example, draw], strict=True):
                row = design.tuples[number]
                assert bool((row[mask] == example).all())
                donors = row[~mask].tolist()
                assert example not in donors
                assert len(set(donors)) == len(donors)


@pytest.mark.parametrize(("modalities", "size"), FULL)
def test_an_additive_model_has_interactions_of_exactly_0_with_few_donors(modalities: int, size: int) -> None:
    design = full_coalition_design(modalities, size)
    outputs = additive(asked(design, normal(2, 3, size, modalities)))
    values = design.values(outputs).mean(-3)
    assert float(intershap(shapley_interactions(values)).max()) < 1e-12


@pytest.mark.parametrize(("modalities", "size"), ANY)
def test_shapley_values_add_up_to_what_all_modalities_bring(modalities: int, size: int) -> None:
    design = coalition_design(modalities, size)
    examples = normal(3, 2, size, modalities)
    outputs = asked(design, examples).prod(-1, keepdim=True)
    found = design.shapley(outputs)
    torch.testing.assert_close(design.own(outputs)[..., 0], examples.prod(-1))
    rest = design.own(outputs).unsqueeze(-2) - found.sum(-2)  # v(none): a product of donors
    assert bool(torch.isfinite(rest).all())
    # Of an additive model, whose donors are known, all that a modality brings is its own part.
    sums = asked(design, examples).sum(-1, keepdim=True)
    spread = design.shapley(sums)[..., 0] - examples.unsqueeze(-2)
    torch.testing.assert_close(spread.sum(-1), design.shapley(sums).sum((-1, -2)) - examples.sum(-1, keepdim=True))


@pytest.mark.parametrize("follow", [0.0, 0.9])
@pytest.mark.parametrize(("modalities", "size"), [(2, 8), (3, 12), (5, 20)])
def test_shapley_values_are_unbiased_however_the_modalities_are_correlated(
    modalities: int, size: int, follow: float
) -> None:
    world = World.random(modalities, 0, levels=2, outputs=1, follow=follow)
    design = coalition_design(modalities, size, budget=16)
    assert isinstance(design, PermutationCoalitions) == (modalities > 3)
    levels = world.examples(3000 // modalities, size, 1)
    errors = shapley_estimate(design.shapley(world.outputs(asked(design, levels)))).value[..., 0]
    for kind in ([0] * modalities, [1] * modalities):
        errors = errors - torch.from_numpy(truth_of(world, kind)[:, 0]) * (levels == torch.tensor(kind)).all(-1, True)
    alike = (levels == levels[..., :1]).all(-1)
    samples = (errors * alike.unsqueeze(-1)).mean(1)  # of groups, which are independent
    assert float(deviation(samples, 0.0).max()) < 4


def test_errors_of_single_examples_are_those_of_their_draws() -> None:
    world = World.random(3, 3, levels=3, outputs=1, follow=0.0)
    design = coalition_design(3, 16, budget=64)
    levels = world.examples(500, 16, 4)
    levels[:, 0] = 1
    estimate = shapley_estimate(design.shapley(world.outputs(asked(design, levels))))
    first = estimate.value[:, 0, :, 0]
    assert torch.allclose(first.std(0), estimate.error[:, 0, :, 0].square().mean(0).sqrt(), rtol=0.15)


@pytest.mark.parametrize(("modalities", "size", "rows"), [(3, 12, 29), (4, 16, 31), (5, 20, 28), (7, 28, 27)])
def test_rows_of_an_example_stay_within_the_budget(modalities: int, size: int, rows: int) -> None:
    design = coalition_design(modalities, size)
    assert len(design.tuples) == rows * size
    assert rows <= BUDGET


def test_a_larger_budget_takes_more_draws() -> None:
    few, many = (coalition_design(3, 12, budget=budget) for budget in (16, 64))
    assert (len(few.tuples), len(many.tuples)) == (12 * (1 + 2 * 7), 12 * (1 + 8 * 7))


def test_all_coalitions_of_too_many_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="modalities=9: all coalitions need 512 rows per example and draw"):
        full_coalition_design(9, 36)


def test_a_group_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="groups of 7 modalities need 28 or more"):
        coalition_design(7, 16)
