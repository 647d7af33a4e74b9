"""What drives single predictions: against fits that leave each donor out, and against known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mviz_lightning.functional import design, unimodal_contribution
from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.example_drivers import example_effects
from mviz_lightning.functional.uc_and_mi import donor_error

SHAPES = [(2, 8), (2, 9), (3, 12), (4, 16)]


def drawn(modalities: int, size: int, groups: int = 2, outputs: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random outputs ``(G, T, C)``, and an output of each example."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(design(modalities, size).tuples)
    values = torch.randn(groups, rows, outputs, generator=generator, dtype=torch.float64)
    return values, torch.randint(outputs, (groups, size), generator=generator)


def fitted(outputs: np.ndarray, tuples: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return ``(g, M + 1)``: the additive model of minimum norm by least squares, and what it leaves of the examples.

    Effects are centred so that their mean over the rows is 0.
    """
    size, modalities = len(own), tuples.shape[1]
    one_hot = np.zeros((len(tuples), modalities, size))
    for row, held in enumerate(tuples):
        one_hot[row, np.arange(modalities), held] = 1
    centre = one_hot.mean(0)
    weights = np.linalg.lstsq((one_hot - centre).reshape(len(tuples), -1), outputs, rcond=None)[0]
    effects = weights.reshape(modalities, size)
    effects = effects - (centre * effects).sum(1, keepdims=True)
    return np.concatenate([effects, [own - outputs.mean() - effects.sum(0)]]).T


def one_group(outputs: np.ndarray, plan: Design, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return effects, errors and sureness of one group, with a fit of its own for every example and every donor."""
    tuples = plan.tuples.numpy()
    recombined = np.array([len(set(row)) == plan.modalities for row in tuples])
    effects, errors, sureness = [], [], []
    for i, c in enumerate(chosen):
        own = np.array([outputs[(tuples == k).all(1)][0, c] for k in range(plan.size)])

        def split(kept: np.ndarray, i: int = i, c: int = c, own: np.ndarray = own) -> np.ndarray:
            return fitted(outputs[kept, c], tuples[kept], own)[i]

        value = split(recombined)
        without = [split(recombined & (tuples != j).all(1)) for j in range(plan.size) if j != i]
        largest = np.abs(value).argmax()

        def margin(parts: np.ndarray, largest: int = largest) -> float:
            return abs(parts[largest]) - 2 * np.linalg.norm(np.delete(parts, largest))

        def error(values: list) -> np.ndarray:
            count = len(values)
            return np.sqrt((count - 1) / count * ((values - np.mean(values, 0)) ** 2).sum(0))

        effects.append(value)
        errors.append(error(without))
        sureness.append(abs(margin(value)) / error([margin(one) for one in without]))
    return np.array(effects), np.array(errors), np.array(sureness)


@pytest.mark.long
@pytest.mark.parametrize(("modalities", "size"), SHAPES)
def test_effects_and_errors_equal_those_of_a_fit_for_every_donor(modalities: int, size: int) -> None:
    (outputs, chosen), plan = drawn(modalities, size, groups=1), design(modalities, size)
    found = example_effects(outputs, plan, chosen)
    value, error, sureness = one_group(outputs[0].numpy(), plan, chosen[0].numpy())
    np.testing.assert_allclose(found.value[0], value, atol=1e-9)
    np.testing.assert_allclose(found.error[0], error, atol=1e-9)
    np.testing.assert_allclose(found.sureness[0], sureness, rtol=1e-7)


def test_mi_of_two_modalities_is_that_of_the_formula() -> None:
    (outputs, _), plan = drawn(2, 8, outputs=1), design(2, 8)
    found = example_effects(outputs, plan, torch.zeros(2, 8, dtype=torch.long))
    interaction = plan.own(outputs) - unimodal_contribution(outputs.view(2, 8, 8, 1))
    torch.testing.assert_close(found.value[..., 2], interaction[..., 0], atol=1e-10, rtol=0)


@pytest.mark.parametrize(("modalities", "size"), SHAPES)
def test_the_error_of_mi_is_that_of_uc(modalities: int, size: int) -> None:
    (outputs, chosen), plan = drawn(modalities, size), design(modalities, size)
    found = example_effects(outputs, plan, chosen).error[..., -1]
    for i in range(size):
        errors = donor_error(plan.unimodal_without_donors(outputs, i))
        torch.testing.assert_close(found[:, i], errors.gather(-1, chosen[:, i : i + 1]).squeeze(-1), atol=1e-8, rtol=0)


@given(st.integers(0, 1000), st.sampled_from(SHAPES))
def test_relabelling_the_modalities_relabels_the_effects(seed: int, shape: tuple[int, int]) -> None:
    (outputs, chosen), plan = drawn(*shape, seed=seed), design(*shape)
    if plan.modalities == 2:  # three and more have shifts of their own
        swapped = outputs.view(2, plan.size, plan.size, -1).transpose(1, 2).flatten(1, 2)
        found, other = (example_effects(one, plan, chosen) for one in (outputs, swapped))
        torch.testing.assert_close(found.value[..., [1, 0, 2]], other.value, atol=1e-9, rtol=0)
    moved = example_effects(outputs + 5.0, plan, chosen)
    torch.testing.assert_close(moved.value, example_effects(outputs, plan, chosen).value, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("modalities", "size"), [(2, 16), (3, 16)])
def test_known_drivers_are_found_and_the_surest_are_right(modalities: int, size: int) -> None:
    """Effects of 4 alone in a modality, 4 in the interaction, or 3 in two of them; everything else is small."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(8 * size).view(8, size) % 4  # 0 and 1: a modality, 2: the interaction, 3: both modalities
    noise = 0.2 * torch.randn(modalities, 8, size, generator=generator, dtype=torch.float64)
    sign = torch.randn(8, size, generator=generator).sign().double()
    alone = [sign * (4.0 * (kind == m) + 3.0 * (kind == 3)) + noise[m] for m in range(2)] + list(noise[2:])
    plan = design(modalities, size)
    outputs = sum(values[:, plan.tuples[:, m]] for m, values in enumerate(alone))
    real = (plan.tuples == plan.tuples[:, :1]).all(1)
    outputs = outputs + real * (4.0 * (kind == 2))[:, plan.tuples[:, 0]]
    found = example_effects(outputs.unsqueeze(-1), plan, torch.zeros(8, size, dtype=torch.long))
    expected = torch.tensor([0, 1, modalities, modalities + 1])[kind]
    sure = found.sureness >= 2
    assert (found.driver == expected)[sure].all()
    assert sure.double().mean() > 0.3
    assert {int(one) for one in found.driver[sure]} == set(expected.unique().tolist())


def test_outputs_that_do_not_vary_are_surely_nothing() -> None:
    plan = design(2, 8)
    found = example_effects(torch.ones(1, 64, 1), plan, torch.zeros(1, 8, dtype=torch.long))
    assert all(part.isfinite().all() for part in found)
    assert not found.value.abs().max() > 1e-12


def test_errors_cover_the_effects_of_a_population() -> None:
    """Nominal 95 %: effects of a product plus a sum, whose population effects are known."""
    plan, covered = design(2, 16), []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 8, 16, generator=generator, dtype=torch.float64)
        rows, columns = plan.tuples.T
        outputs = (x[:, rows] + 2 * y[:, columns] + x[:, rows] * y[:, columns]).unsqueeze(-1)
        found = example_effects(outputs, plan, torch.zeros(8, 16, dtype=torch.long))
        truth = torch.stack([x, 2 * y, x * y], -1)
        covered.append(((found.value - truth).abs() <= 2.13 * found.error).double().mean((0, 1)))
    share = torch.stack(covered).mean(0)
    assert ((share > 0.88) & (share <= 1)).all()
