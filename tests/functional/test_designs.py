"""Which recombinations are evaluated, and what is read from their outputs."""

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from helpers.draws import normal
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from reference.worlds import recombined, responses
from torch import Tensor

from mviz_lightning.functional import (
    Design,
    GridDesign,
    TupleDesign,
    design,
    half_splits,
    share_ratios,
    split_components,
    unimodal_contribution,
)
from mviz_lightning.functional.contribution import share_names
from mviz_lightning.functional.designs import smallest_group, usual_group

seeds = st.integers(0, 10_000)
grid_sizes = st.integers(4, 8)
tuple_shapes = st.sampled_from([(3, 12), (3, 13), (4, 16), (6, 24)])
shapes = st.sampled_from([(2, 4), (2, 7), (3, 12), (4, 17), (6, 24)])


def random_outputs(plan: Design, seed: int, outputs: int = 2) -> Tensor:
    """Outputs ``(T, C)`` of a model without structure: equal where tuples are, else unrelated."""
    table = normal(seed, *[plan.size] * min(plan.modalities, 3), outputs)
    first = table[tuple(plan.tuples[:, :3].T)]
    rest = normal(seed + 1, plan.modalities, plan.size, outputs)[torch.arange(plan.modalities), plan.tuples]
    return first * rest.prod(1)


def additive_outputs(plan: Design, seed: int) -> Tensor:
    values = normal(seed, plan.size, plan.modalities, 2)
    return values[plan.tuples, torch.arange(plan.modalities)].sum(1)


def shares_of(plan: Design, outputs: Tensor) -> dict[str, Tensor]:
    names = share_names([str(m) for m in range(plan.modalities)], plan.pairs)
    values = share_ratios(plan.components(outputs), plan.modalities)
    return dict(zip(names, values, strict=True))


# -- Choosing a design -------------------------------------------------------------------------------------------------


def test_two_modalities_get_the_full_grid_row_by_row() -> None:
    plan = design(2, 5)

    assert isinstance(plan, GridDesign)
    assert plan.tuples.tolist() == [[row, column] for row in range(5) for column in range(5)]


@pytest.mark.parametrize("modalities", [3, 4, 6])
def test_rows_of_an_example_do_not_depend_on_the_size_of_its_group(modalities: int) -> None:
    counts = {len(design(modalities, size).tuples) / size for size in (24, 32, 48)}

    assert len(counts) == 1


@pytest.mark.parametrize(
    ("modalities", "examples", "size"), [(2, 1024, 16), (3, 128, 16), (3, 255, 16), (3, 256, 32), (9, 0, 36)]
)
def test_groups_of_three_modalities_are_larger_where_eight_of_them_are_filled(
    modalities: int, examples: int, size: int
) -> None:
    assert usual_group(modalities, examples) == size


@pytest.mark.parametrize("modalities", [3, 4, 5, 6, 8])
def test_the_rows_of_more_modalities_grow_linearly(modalities: int) -> None:
    plan = design(modalities, smallest_group(modalities), pairs=False)

    assert isinstance(plan, TupleDesign)
    # 8 draws of u, v and a swap of every modality; the real examples; 4 donors for every modality.
    assert len(plan.tuples) == plan.size * (8 * (2 + modalities) + 1 + 4 * modalities)


@pytest.mark.parametrize(("modalities", "pairs"), [(2, 0), (3, 3), (4, 6), (5, 0)])
def test_pairs_are_given_by_default_for_three_and_four_modalities(modalities: int, pairs: int) -> None:
    assert len(design(modalities, 20).pairs) == pairs


def test_pairs_are_given_and_left_out_when_asked() -> None:
    assert design(5, 20, pairs=True).pairs == tuple(combinations(range(5), 2))
    assert design(3, 20, pairs=False).pairs == ()


def test_one_modality_is_refused() -> None:
    with pytest.raises(ValueError, match=r"modalities=1: .* give 2 or more"):
        design(1, 16)


@pytest.mark.parametrize(("modalities", "size", "least"), [(2, 3, 4), (3, 11, 12), (6, 23, 24)])
def test_too_small_a_group_is_refused_with_the_least_that_works(modalities: int, size: int, least: int) -> None:
    with pytest.raises(ValueError, match=rf"size={size}: groups of {modalities} modalities need {least} or more"):
        design(modalities, size)


@pytest.mark.parametrize(("modalities", "size"), [(2, 16), (3, 12), (5, 20)])
def test_a_design_repeats_with_its_seed_and_changes_with_another(modalities: int, size: int) -> None:
    def measured(seed: int) -> Tensor:
        design.cache_clear()
        plan = design(modalities, size, seed=seed)
        levels = normal(7, size, modalities)
        return plan.components(recombined(plan, levels).prod(-1, keepdim=True))

    assert torch.equal(measured(1), measured(1))
    assert not torch.equal(measured(1), measured(2))


def test_a_design_draws_from_no_global_generator() -> None:
    before = torch.random.get_rng_state()

    TupleDesign(3, 12, pairs=True, seed=0)
    GridDesign(8)

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("modalities", [2, 3, 4, 5, 6, 8, 10, 12])
def test_every_number_of_modalities_works_at_its_smallest_group(modalities: int) -> None:
    size = smallest_group(modalities)
    for group in (size, size + 1):
        plan = design(modalities, group)

        assert plan.components(random_outputs(plan, 0)).isfinite().all(), f"groups of {group}"


# -- The rows of tuple designs -----------------------------------------------------------------------------------------


@given(tuple_shapes, seeds)
def test_base_and_donor_tuples_share_no_example_and_are_shifts(shape: tuple[int, int], seed: int) -> None:
    modalities, size = shape
    plan = TupleDesign(modalities, size, draws=3, pairs=False, seed=seed)
    u, v = (torch.from_numpy(part) for part in slow.bases(plan.tuples.numpy(), size, 3))

    together = torch.cat([u, v], -1).sort(-1).values
    assert (together.diff(dim=-1) > 0).all()
    assert torch.equal((u - u[:, :1]) % size, torch.arange(size).view(1, -1, 1).expand_as(u))
    assert torch.equal((v - v[:, :1]) % size, torch.arange(size).view(1, -1, 1).expand_as(v))


@given(tuple_shapes, seeds)
def test_the_examples_that_one_example_replaces_form_a_donor_tuple(shape: tuple[int, int], seed: int) -> None:
    modalities, size = shape
    plan = TupleDesign(modalities, size, draws=2, pairs=False, seed=seed)
    u, v = slow.bases(plan.tuples.numpy(), size, 2)
    donors = {tuple(row) for row in v.reshape(-1, modalities).tolist()}

    for draw in range(2):
        for example in range(size):
            bases = [int((v[draw, :, m] == example).argmax()) for m in range(modalities)]
            assert tuple(int(u[draw, base, m]) for m, base in enumerate(bases)) in donors


@given(tuple_shapes, seeds)
def test_no_drawn_tuple_holds_an_example_twice(shape: tuple[int, int], seed: int) -> None:
    modalities, size = shape
    plan = TupleDesign(modalities, size, draws=2, pairs=modalities < 5, seed=seed)
    drawn = plan.tuples[: 2 * size * (2 + modalities + len(plan.pairs))].sort(-1).values

    assert (drawn.diff(dim=-1) > 0).all()


# -- Single examples ---------------------------------------------------------------------------------------------------


@given(shapes, seeds)
def test_own_reads_the_real_examples(shape: tuple[int, int], seed: int) -> None:
    plan, outputs = design(*shape), random_outputs(design(*shape), seed)
    by_tuple = responses(plan, outputs)

    np.testing.assert_array_equal(plan.own(outputs), [by_tuple[(i,) * plan.modalities] for i in range(plan.size)])


@given(shapes, seeds)
def test_swapped_takes_one_modality_from_others_of_the_group(shape: tuple[int, int], seed: int) -> None:
    plan = design(*shape)
    # Outputs that spell the tuple: every modality is a column.
    spelled = plan.tuples.double()
    for modality in range(plan.modalities):
        found = plan.swapped(spelled, modality)
        real = torch.arange(plan.size).view(-1, 1, 1).expand_as(found)
        kept = torch.arange(plan.modalities) != modality

        assert torch.equal(found[..., kept].long(), real[..., kept])
        assert (found[..., modality] != real[..., modality]).all()
        assert all(len(row.unique()) == found.shape[1] for row in found[..., modality])


def test_the_grid_swaps_with_all_others_and_tuples_with_four() -> None:
    assert design(2, 9).swapped(torch.zeros(81, 1), 0).shape == (9, 8, 1)
    plan = design(3, 16)
    assert plan.swapped(torch.zeros(len(plan.tuples), 1), 2).shape == (16, 4, 1)


@given(grid_sizes, seeds)
def test_the_unimodal_contribution_of_a_grid_equals_the_loops(size: int, seed: int) -> None:
    plan, outputs = GridDesign(size), random_outputs(GridDesign(size), seed)

    np.testing.assert_allclose(
        plan.unimodal(outputs), slow.unimodal_contribution(outputs.view(size, size, 2).numpy()), atol=1e-12
    )


def drawn(plan: TupleDesign) -> Tensor:
    """Return the tuples that hold no example twice and are no real example with a single swap."""
    real = len(plan.tuples) - plan.size * (1 + 4 * plan.modalities)
    return plan.tuples[:real]


@pytest.mark.parametrize("shape", [(3, 12), (4, 16), (3, 32)])
def test_the_unimodal_contribution_of_tuples_is_the_least_squares_fit_to_the_drawn_ones(shape: tuple[int, int]) -> None:
    plan = design(*shape)
    outputs, rows = random_outputs(plan, 7), drawn(plan)

    expected = slow.additive_fit(rows.numpy(), outputs[: len(rows)].numpy(), plan.size)
    np.testing.assert_allclose(plan.unimodal(outputs), expected, atol=1e-10)


def test_on_all_pairs_of_two_modalities_the_least_squares_fit_is_the_formula_of_dime() -> None:
    plan = GridDesign(9)
    outputs = random_outputs(plan, 3)
    apart = plan.tuples[:, 0] != plan.tuples[:, 1]

    expected = slow.additive_fit(plan.tuples[apart].numpy(), outputs[apart].numpy(), 9)
    np.testing.assert_allclose(plan.unimodal(outputs), expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 8), (3, 12), (4, 32)])
def test_without_a_donor_no_tuple_that_holds_it_counts(shape: tuple[int, int]) -> None:
    plan = design(*shape)
    outputs, place = random_outputs(plan, 5), 3
    rows = drawn(plan) if isinstance(plan, TupleDesign) else plan.tuples
    apart = torch.tensor([len(set(row)) == plan.modalities for row in rows.tolist()])  # no example is its own donor

    found = plan.unimodal_without_donors(outputs, place)
    for donor, values in zip([k for k in range(plan.size) if k != place], found, strict=True):
        used = apart & (rows != donor).all(1)
        fit = slow.additive_fit(rows[used].numpy(), outputs[: len(rows)][used].numpy(), plan.size)
        np.testing.assert_allclose(values, fit[place], atol=1e-9)
        if donor > 5:
            break


@pytest.mark.parametrize("size", [6, 9])
def test_halves_of_a_grid_use_half_of_the_donors(size: int) -> None:
    plan = GridDesign(size)
    outputs = random_outputs(plan, 11)
    found = plan.unimodal_halves(outputs)
    splits = half_splits(size, 4, 0).flatten(0, 1)

    for values, half in zip(found, splits.tolist(), strict=True):
        for place in range(size):
            donors = [k for k in half if k != place]
            kept = [place, *donors]
            grid = outputs.view(size, size, 2)[kept][:, kept].numpy()
            np.testing.assert_allclose(values[place], slow.unimodal_contribution(grid)[0], atol=1e-12)


def test_too_few_donors_are_not_halved() -> None:
    assert GridDesign(5).unimodal_halves(random_outputs(GridDesign(5), 0)).shape == (0, 5, 2)


@given(shapes, seeds)
def test_halves_and_donors_left_out_are_exact_for_additive_models(shape: tuple[int, int], seed: int) -> None:
    plan, examples = design(*shape), normal(seed, shape[0], shape[1], 2)
    outputs, real = examples[torch.arange(shape[0]), plan.tuples].sum(1), examples.sum(0)
    halves, without = plan.unimodal_halves(outputs), plan.unimodal_without_donors(outputs, 1)

    torch.testing.assert_close(halves, real.expand_as(halves), rtol=0, atol=1e-9)
    torch.testing.assert_close(without, real[1].expand(shape[1] - 1, 2), rtol=0, atol=1e-9)


@given(shapes, seeds)
def test_additive_models_equal_their_unimodal_contributions(shape: tuple[int, int], seed: int) -> None:
    plan, outputs = design(*shape), additive_outputs(design(*shape), seed)

    torch.testing.assert_close(plan.unimodal(outputs), plan.own(outputs), rtol=0, atol=1e-12)


@given(shapes, seeds)
def test_other_models_do_not_equal_their_unimodal_contributions(shape: tuple[int, int], seed: int) -> None:
    plan, outputs = design(*shape), random_outputs(design(*shape), seed)

    assert (plan.unimodal(outputs) - plan.own(outputs)).abs().max() > 1e-3


def test_subtracting_the_grand_mean_once_fails_additive_models_of_three_modalities() -> None:
    values = normal(0, 3, 12) + 1.0
    alone = values.sum(0) + torch.stack([values.sum(0).mean() - row.mean() for row in values]).sum()

    once = alone - values.mean(1).sum()
    assert (once - values.sum(0)).abs().max() > 0.1
    torch.testing.assert_close(alone - 2 * values.mean(1).sum(), values.sum(0))


@given(shapes, seeds, st.floats(-1e3, 1e3))
def test_a_constant_moves_unimodal_contributions_by_itself(shape: tuple[int, int], seed: int, constant: float) -> None:
    plan, outputs = design(*shape), random_outputs(design(*shape), seed)

    torch.testing.assert_close(plan.unimodal(outputs + constant), plan.unimodal(outputs) + constant)


@given(shapes, seeds)
def test_groups_are_carried_along(shape: tuple[int, int], seed: int) -> None:
    plan = design(*shape)
    groups = torch.stack([random_outputs(plan, seed + group) for group in range(3)])
    statistics: list[Callable[[Tensor], Tensor]] = [plan.components, plan.own, plan.unimodal]

    for statistic in (*statistics, lambda outputs: plan.swapped(outputs, 1)):
        torch.testing.assert_close(statistic(groups), torch.stack([statistic(group) for group in groups]))


@given(grid_sizes, seeds)
def test_relabelled_examples_of_a_grid_take_their_values_along(size: int, seed: int) -> None:
    plan, examples = GridDesign(size), normal(seed, size, 2)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))

    def outputs(examples: Tensor) -> Tensor:
        return recombined(plan, examples).prod(-1, keepdim=True).sin()

    before, after = outputs(examples), outputs(examples[order])
    torch.testing.assert_close(plan.own(after), plan.own(before)[order])
    torch.testing.assert_close(plan.unimodal(after), plan.unimodal(before)[order])
    for modality in (0, 1):
        found = plan.swapped(after, modality).sort(1).values
        torch.testing.assert_close(found, plan.swapped(before, modality)[order].sort(1).values)


def test_relabelling_changes_no_component_of_a_grid_in_expectation() -> None:
    grid = random_outputs(GridDesign(4), 1).view(4, 4, 2)
    splits = half_splits(4, 1)
    relabelled = torch.stack([grid[list(order)][:, list(order)] for order in permutations(range(4))])
    one_more = torch.tensor([2, 0, 3, 1])

    again = relabelled[:, one_more][:, :, one_more]
    torch.testing.assert_close(split_components(again, splits).mean(0), split_components(relabelled, splits).mean(0))


# -- Components --------------------------------------------------------------------------------------------------------


@given(grid_sizes, seeds)
def test_the_components_of_a_grid_follow_from_its_anova(size: int, seed: int) -> None:
    plan, outputs = GridDesign(size, splits=3, seed=seed), random_outputs(GridDesign(size), seed)
    first, second, both = slow.split_components(outputs.view(size, size, 2).numpy(), half_splits(size, 3, seed).numpy())

    expected = [first + second + both, first, second, first + both, second + both, both]
    np.testing.assert_allclose(plan.components(outputs), expected, atol=1e-12)


@pytest.mark.parametrize(("modalities", "size"), [(3, 12), (3, 14), (4, 16)])
@pytest.mark.parametrize("seed", range(3))
def test_the_components_of_tuples_equal_the_loops(modalities: int, size: int, seed: int) -> None:
    plan = TupleDesign(modalities, size, draws=3, pairs=True, seed=seed)
    outputs = random_outputs(plan, seed)
    u, v = slow.bases(plan.tuples.numpy(), size, 3)

    expected = slow.tuple_components(responses(plan, outputs), u, v, plan.pairs)
    np.testing.assert_allclose(plan.components(outputs), expected, atol=1e-12)


@given(st.integers(6, 9), seeds)
def test_the_components_of_a_grid_without_an_example_follow_from_its_anova(size: int, seed: int) -> None:
    plan, outputs = GridDesign(size, splits=3, seed=seed), random_outputs(GridDesign(size), seed)
    grid, splits = outputs.view(size, size, 2).numpy(), half_splits(size, 3, seed).numpy()

    for example, found in enumerate(plan.without_each(outputs)):
        first, second, both = slow.split_components(grid, splits, example)
        expected = [first + second + both, first, second, first + both, second + both, both]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_groups_of_five_are_too_small_to_lose_an_example() -> None:
    plan, outputs = GridDesign(5), random_outputs(GridDesign(5), 0)

    assert torch.equal(plan.without_each(outputs), plan.components(outputs).expand(5, 6))


@pytest.mark.parametrize(("modalities", "size"), [(3, 12), (4, 16)])
def test_the_components_of_tuples_without_an_example_equal_the_loops(modalities: int, size: int) -> None:
    plan = TupleDesign(modalities, size, draws=3, pairs=True, seed=1)
    outputs = random_outputs(plan, 1)
    u, v = slow.bases(plan.tuples.numpy(), size, 3)

    for example in (0, 5, size - 1):
        expected = slow.tuple_components(responses(plan, outputs), u, v, plan.pairs, without=example)
        np.testing.assert_allclose(plan.without_each(outputs)[example], expected, atol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize(("modalities", "size"), [(2, 16), (3, 16), (3, 32), (4, 16), (6, 24)])
def test_the_jackknife_over_examples_overestimates_the_variance_by_no_more_than_it_says(
    modalities: int, size: int
) -> None:
    plan = design(modalities, size)
    examples = normal(0, 600, size, modalities)
    outputs = examples[:, plan.tuples, torch.arange(modalities)].prod(-1, keepdim=True)  # the highest order alone

    variance = plan.components(outputs).var(0)
    without = plan.without_each(outputs)
    found = (size - 1) / size * (without - without.mean(1, keepdim=True)).square().sum(1).mean(0)
    ratios = (found / variance)[1 : 1 + modalities]
    assert bool((ratios > 0.9).all())
    assert bool((ratios < 1.25 * plan.inflation).all())


@given(shapes, seeds)
def test_additive_models_have_no_interaction(shape: tuple[int, int], seed: int) -> None:
    plan = design(*shape)

    assert abs(shares_of(plan, additive_outputs(plan, seed))["interaction"]) < 1e-12


@given(shapes, seeds)
def test_models_without_structure_have_one(shape: tuple[int, int], seed: int) -> None:
    plan = design(*shape)

    assert abs(shares_of(plan, random_outputs(plan, seed))["interaction"]) > 1e-3


@given(shapes, seeds, st.floats(-100, 100))
def test_a_constant_changes_no_share(shape: tuple[int, int], seed: int, constant: float) -> None:
    plan, outputs = design(*shape), random_outputs(design(*shape), seed)
    components, moved = plan.components(outputs), plan.components(outputs + constant)

    torch.testing.assert_close(moved, components, rtol=0, atol=1e-9 * float(components.abs().max()))


@pytest.mark.parametrize(("modalities", "size"), [(8, 32), (10, 41), (12, 49)])
def test_a_constant_changes_no_share_of_many_modalities_in_the_smallest_groups(modalities: int, size: int) -> None:
    # Few base tuples leave another without more than one of their examples; some draws have none.
    plan = design(modalities, size)
    outputs = additive_outputs(plan, 0) + normal(1, len(plan.tuples), 2)

    components, moved = plan.components(outputs), plan.components(outputs + 100)
    torch.testing.assert_close(moved, components, rtol=0, atol=1e-9 * float(components.abs().max()))


def test_the_uncentred_first_order_formula_fails_that_test() -> None:
    plan = TupleDesign(3, 12, draws=3, pairs=False, seed=0)
    outputs = random_outputs(plan, 0)
    u, v = slow.bases(plan.tuples.numpy(), 12, 3)
    uncentred, moved = (
        slow.tuple_components(responses(plan, values), u, v, (), centred=False) for values in (outputs, outputs + 100)
    )

    assert abs(moved - uncentred)[1:4].max() > 1


@given(shapes, seeds, st.sampled_from([-3.0, 0.1, 50.0]))
def test_a_factor_changes_no_share(shape: tuple[int, int], seed: int, factor: float) -> None:
    plan, outputs = design(*shape), random_outputs(design(*shape), seed)
    ratios = share_ratios(plan.components(outputs), plan.modalities)

    torch.testing.assert_close(share_ratios(plan.components(outputs * factor), plan.modalities), ratios)


def test_the_grid_reads_what_the_projection_gives() -> None:
    plan, outputs = GridDesign(6), random_outputs(GridDesign(6), 3)

    torch.testing.assert_close(plan.unimodal(outputs), unimodal_contribution(outputs.view(6, 6, 2)))
