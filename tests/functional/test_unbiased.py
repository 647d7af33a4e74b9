"""Designs measure without bias: against exact enumeration over correlated examples, and against known models."""

import pytest
import torch
from benchmarks.coverage import THREE, TWO, Model, gaussian
from helpers.few import spread
from reference.worlds import World, deviation, recombined
from torch import Tensor

from mviz_lightning.functional import Design, design, two_way_components

GROUPS = 3000


def measured(plan: Design, world: World) -> Tensor:
    """``(GROUPS, S)`` components of a random model on groups of correlated examples."""
    examples = world.examples(GROUPS, plan.size, seed=11)
    return plan.components(world.outputs(recombined(plan, examples)))


@pytest.mark.long
@pytest.mark.parametrize("follow", [0.0, 0.9])
@pytest.mark.parametrize(("modalities", "size"), [(2, 4), (2, 8), (2, 9), (3, 12), (3, 16)])
def test_components_average_to_the_enumerated_truth(modalities: int, size: int, follow: float) -> None:
    world, plan = World.random(modalities, seed=modalities, follow=follow), design(modalities, size)

    assert deviation(measured(plan, world), world.truth(plan.pairs)).max() < 4


@pytest.mark.slow
def test_components_of_four_modalities_average_to_the_enumerated_truth() -> None:
    world, plan = World.random(4, seed=4, levels=2, outputs=1), design(4, 16)

    assert deviation(measured(plan, world), world.truth(plan.pairs)).max() < 4


def test_the_textbook_anova_of_a_group_fails_the_test_of_correlated_examples() -> None:
    world, plan = World.random(2, seed=2, follow=0.9), design(2, 8)
    grids = world.outputs(recombined(plan, world.examples(GROUPS, 8, seed=11))).unflatten(1, (8, 8))

    assert deviation(two_way_components(grids), world.truth()[[1, 2, 5]]).max() > 10


def shifted_totals(examples: Tensor, base: list[int], world: World) -> Tensor:
    """``1/2 (f(u) - f(u with m from the next example))^2`` for one base tuple of every group, ``(GROUPS, M)``."""
    taken = examples[:, base, torch.arange(3)]
    totals = []
    for modality in range(3):
        swapped = taken.clone()
        swapped[:, modality] = examples[:, 5, modality]
        totals.append((world.outputs(taken) - world.outputs(swapped)).square().sum(-1) / 2)
    return torch.stack(totals, -1)


@pytest.mark.parametrize(("base", "passes"), [([0, 1, 2], True), ([0, 0, 0], False)])
def test_totals_are_biased_as_soon_as_the_base_is_a_real_row(base: list[int], *, passes: bool) -> None:
    world = World.random(3, seed=3, follow=0.9)
    found = shifted_totals(world.examples(20_000, 6, seed=12), base, world)

    worst = deviation(found, world.truth()[4:7]).max()
    assert worst < 4 if passes else worst > 10


def known(model: Model, correlation: float) -> tuple[Tensor, Tensor]:
    """Components over many groups of 16 and the truth, in units of the variance."""
    plan = design(model.modalities, 16)
    examples = gaussian((GROUPS, 16), model.modalities, correlation, torch.Generator().manual_seed(13))
    components = plan.components(model.function(recombined(plan, examples)).unsqueeze(-1))
    everything = sum(model.variances.values())
    return components / everything, torch.cat([torch.ones(1), model.truth])


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("model", spread([*TWO, *THREE], 3), ids=lambda model: model.name)
def test_components_of_known_models_average_to_their_variances(model: Model, correlation: float) -> None:
    components, truth = known(model, correlation)

    assert deviation(components, truth).max() < 4


def test_the_known_models_are_measured_closely_enough_to_tell_them_apart() -> None:
    components, truth = known(TWO[2], 0.9)

    assert truth.tolist() == [1, 0.25, 0.25, 0.75, 0.75, 0.5]
    assert (components.std(0) / GROUPS**0.5).max() < 0.02


# -- Unbiasedness of unimodal contributions ----------------------------------------------------------------------------


def unimodal_error(found: Tensor, truth: Tensor) -> float:
    """How many standard errors ``(G, g, C)`` contributions are off, at worst, on average and along their truth."""
    error = found - truth
    return float(deviation(torch.stack([error.mean(1), (error * truth).mean(1)], -1).flatten(1), 0.0).max())


@pytest.mark.parametrize(("modalities", "size"), [(2, 4), (3, 12)])
def test_unimodal_contributions_average_to_the_enumerated_truth(modalities: int, size: int) -> None:
    world, plan = World.random(modalities, seed=5), design(modalities, size)
    examples = world.examples(GROUPS, size, seed=14)
    truth = world.unimodal_truth()[tuple(examples.unbind(-1))]

    assert unimodal_error(plan.unimodal(world.outputs(recombined(plan, examples))), truth) < 4


def test_donors_taken_whole_from_one_example_fail_that_test() -> None:
    world = World.random(3, seed=5)
    examples = world.examples(GROUPS, 12, seed=14)
    truth = world.unimodal_truth()[tuple(examples.unbind(-1))]

    def from_one(modality: int) -> Tensor:
        """``E[f | x_m]`` with the other modalities of one donor, ``(G, g, C)``."""
        rows = examples.unsqueeze(1).repeat(1, 12, 1, 1)  # own example, donor
        rows[..., modality] = examples[:, :, None, modality]
        outputs = world.outputs(rows)
        return (outputs.sum(2) - outputs.diagonal(dim1=1, dim2=2).movedim(-1, 1)) / 11

    grand = world.outputs(examples).mean(1, keepdim=True)
    whole = sum(from_one(modality) for modality in range(3)) - 2 * grand
    assert unimodal_error(whole, truth) > 10
