"""The linear surrogate of local explanations, against a slow one and against scikit-learn's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import slow
from torch import Tensor

from mviz_lightning.explainers.dime.explainer import attributions
from mviz_lightning.functional import draw_masks, surrogate
from mviz_lightning.functional.surrogate import ALPHA, KERNEL_WIDTH, kernel

seeds = st.integers(0, 10_000)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(seed: int) -> tuple[Tensor, Tensor]:
    """Masks of up to nine units and two responses to them: partly linear, partly not."""
    generator = torch.Generator().manual_seed(seed)
    segments = int(torch.randint(2, 10, (), generator=generator))
    masks = draw_masks(segments, 40, seed)
    return masks, masks.double() @ doubles(segments, 2, seed=seed) + doubles(len(masks), 2, seed=seed + 1)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.double().numpy() for tensor in tensors]


# -- Masks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("segments", "samples"), [(0, 2), (1, 2), (1, 64), (3, 8), (4, 64), (6, 64)])
def test_where_all_masks_are_few_enough_each_comes_once(segments: int, samples: int) -> None:
    masks = draw_masks(segments, samples)

    assert masks.shape == (2**segments, segments)
    assert masks.dtype == torch.bool
    expected = slow.every_mask(segments)
    assert {tuple(row) for row in masks.double().tolist()} == {tuple(row) for row in expected.tolist()}
    assert bool(masks[0].all())


@pytest.mark.parametrize(("segments", "samples"), [(2, 3), (3, 7), (7, 64), (49, 196), (70, 280)])
def test_other_masks_are_drawn_and_the_first_keeps_all(segments: int, samples: int) -> None:
    masks = draw_masks(segments, samples)

    assert masks.shape == (samples, segments)
    assert bool(masks[0].all())


@pytest.mark.parametrize("seed", range(3))
def test_every_unit_stays_in_half_of_the_drawn_masks(seed: int) -> None:
    masks = draw_masks(20, 4000, seed)[1:].double()
    error = (0.25 / len(masks)) ** 0.5

    assert (masks.mean(0) - 0.5).abs().max() < 4 * error
    together = masks.T @ masks / len(masks) - 0.25
    assert (together - together.diagonal().diag()).abs().max() < 5 * error
    assert abs(float(masks.sum(1).var()) - 20 / 4) < 0.6


def test_masks_are_the_same_for_the_same_seed_alone() -> None:
    assert torch.equal(draw_masks(10, 64, 3), draw_masks(10, 64, 3))
    assert not torch.equal(draw_masks(10, 64, 3), draw_masks(10, 64, 4))


def test_drawing_masks_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    draw_masks(10, 64)
    assert torch.equal(torch.random.get_rng_state(), before)


# -- Kernel ------------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.05, 2))
def test_masks_weigh_what_the_cosine_distance_says(seed: int, width: float) -> None:
    masks = case(seed)[0]

    np.testing.assert_allclose(kernel(masks, width).numpy(), slow.mask_weights(masks.double().numpy(), width), **CLOSE)


def test_the_unmasked_example_weighs_one_and_the_width_is_a_quarter() -> None:
    masks = torch.tensor([[True] * 4, [True] + [False] * 3, [False] * 4])

    expected = [1.0, np.sqrt(np.exp(-(0.5**2) / 0.25**2)), np.sqrt(np.exp(-1 / 0.25**2))]
    assert kernel(masks).tolist() == pytest.approx(expected)
    assert (KERNEL_WIDTH, ALPHA) == (0.25, 1.0)


# -- Weights -----------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.1, 2), st.floats(0.01, 10))
def test_weights_solve_the_normal_equations(seed: int, width: float, alpha: float) -> None:
    masks, responses = case(seed)
    design, columns = arrays(masks, responses)
    weights = slow.mask_weights(design, width)

    found = surrogate(masks, responses, width=width, alpha=alpha)
    for k in range(2):
        expected = slow.weighted_ridge(design, columns[:, k], weights, alpha)[1]
        np.testing.assert_allclose(found.weights[:, k].numpy(), expected, **CLOSE)


@given(seeds)
def test_width_and_alpha_are_those_of_lime_where_nothing_is_said(seed: int) -> None:
    masks, responses = case(seed)

    found, named = surrogate(masks, responses), surrogate(masks, responses, width=0.25, alpha=1.0)
    assert torch.equal(found.weights, named.weights)
    assert torch.equal(found.r2, named.r2)


@given(seeds, st.sampled_from([0.1, 1.0, 7.0]))
def test_weights_are_those_of_scikit_learn(seed: int, alpha: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    masks, responses = case(seed)
    design, columns = arrays(masks, responses)
    distance = pairwise.cosine_distances(design, np.ones((1, design.shape[1])))[:, 0]
    ridge = linear_model.Ridge(alpha=alpha, fit_intercept=True)
    ridge.fit(design, columns, sample_weight=np.sqrt(np.exp(-(distance**2) / 0.25**2)))

    np.testing.assert_allclose(surrogate(masks, responses, alpha=alpha).weights.numpy(), ridge.coef_.T, **CLOSE)


@given(seeds)
def test_weights_of_the_parts_add_up_to_those_of_the_whole(seed: int) -> None:
    masks, own = case(seed)
    donors = doubles(*own.shape, seed=seed + 2)

    alone, together, lime = (surrogate(masks, part).weights for part in (donors, own - donors, own))
    assert (alone + together - lime).abs().max() < 1e-12


@given(seeds, st.floats(-100, 100))
def test_adding_a_constant_changes_nothing(seed: int, constant: float) -> None:
    masks, responses = case(seed)

    found, moved = surrogate(masks, responses), surrogate(masks, responses + constant)
    torch.testing.assert_close(moved.weights, found.weights, rtol=0, atol=1e-11)
    torch.testing.assert_close(moved.r2, found.r2, rtol=0, atol=1e-10)


def test_a_large_penalty_shrinks_weights_and_none_gives_a_linear_model_back() -> None:
    masks, truth = draw_masks(5, 32), doubles(5, 1)
    responses = masks.double() @ truth + 3

    torch.testing.assert_close(surrogate(masks, responses, alpha=0.0).weights, truth)
    sizes = [float(surrogate(masks, responses, alpha=alpha).weights.norm()) for alpha in (0.0, 1.0, 100.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.1 * sizes[0]


def test_responses_in_half_precision_are_computed_in_float64() -> None:
    masks = draw_masks(5, 32)

    assert surrogate(masks, doubles(32, 1).bfloat16()).weights.dtype == torch.float64


# -- Leave-one-out R2 --------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.1, 2), st.floats(0.01, 10))
def test_r2_is_that_of_really_leaving_each_mask_out(seed: int, width: float, alpha: float) -> None:
    masks, responses = case(seed)
    design, columns = arrays(masks, responses)
    weights = slow.mask_weights(design, width)

    expected = [slow.leave_one_out_r2(design, columns[:, k], weights, alpha) for k in range(2)]
    np.testing.assert_allclose(surrogate(masks, responses, width=width, alpha=alpha).r2.numpy(), expected, rtol=1e-7)


def in_sample_r2(masks: Tensor, responses: Tensor) -> Tensor:
    design, weights = masks.double(), kernel(masks)
    fitted = design @ surrogate(masks, responses).weights
    residual = responses - fitted
    residual, spread = (values - (weights @ values) / weights.sum() for values in (residual, responses))
    return 1 - (weights @ residual.square()) / (weights @ spread.square())


@pytest.mark.parametrize(
    ("segments", "samples", "usual"), [(10, 64, 0.15), (49, 196, 0.2), (49, 64, 0.6), (100, 64, 0.9)]
)
def test_on_noise_r2_is_no_better_than_nothing_where_the_usual_one_is(
    segments: int, samples: int, usual: float
) -> None:
    masks = draw_masks(segments, samples)
    noise = doubles(samples, 200)

    assert in_sample_r2(masks, noise).mean() > usual
    found = surrogate(masks, noise).r2
    assert found.median() < -0.1
    assert (found > 0.2).double().mean() < 0.05


def test_r2_of_a_linear_model_is_near_one() -> None:
    masks = draw_masks(10, 640)
    assert (surrogate(masks, masks.double() @ doubles(10, 5)).r2 > 0.95).all()


@pytest.mark.parametrize("constant", [0.0, 1e-8, 3.0, -1e6])
def test_r2_of_a_constant_response_is_unknown(constant: float) -> None:
    masks = draw_masks(6, 40)

    found = surrogate(masks, torch.full((40, 2), constant) + torch.tensor([0.0, 1.0]) * doubles(40, 1))
    assert found.r2.isnan().tolist() == [True, False]
    assert found.weights[:, 0].abs().max() < 1e-9 * max(1.0, abs(constant))


def test_a_response_that_varies_by_rounding_alone_is_constant() -> None:
    masks = draw_masks(6, 40)
    rounded = 1.0 + 2 * torch.finfo(torch.float32).eps * doubles(40, 1).sign()

    assert surrogate(masks, rounded).r2.isnan().all()
    assert not surrogate(masks, 1.0 + 1e-4 * doubles(40, 1)).r2.isnan().any()


# -- Few units ---------------------------------------------------------------------------------------------------------


def test_without_units_there_are_no_weights() -> None:
    found = surrogate(draw_masks(0, 64), doubles(1, 3))

    assert found.weights.shape == (0, 3)
    assert found.r2.isnan().all()


def test_what_a_single_unit_adds_is_a_difference() -> None:
    masks = draw_masks(1, 64)

    found = surrogate(masks, torch.tensor([[5.0, 1.0], [2.0, 1.0]]), alpha=0.0)
    assert found.weights.tolist() == [pytest.approx([3.0, 0.0])]


@pytest.mark.parametrize(("height", "difference"), [(0.0, 1.0), (10.0, 3e-3), (1e3, 1e-2), (1e5, 1.0)])
def test_a_single_unit_explains_its_difference_whole_however_large_the_responses(height, difference: float) -> None:
    found = surrogate(draw_masks(1, 64), torch.tensor([[height + difference], [height]]), alpha=0.0)
    assert found.r2.item() == pytest.approx(1, abs=1e-3)


# -- What DIME makes of the outputs for each mask, the own partner's and the donors' -----------------------------------


def test_masks_with_outputs_that_are_not_finite_are_left_out() -> None:
    masks, outputs = draw_masks(6, 40), doubles(40, 5, 2)
    broken = outputs.clone()
    broken[3, 0, 1], broken[8, 4, 0], broken[39] = torch.nan, torch.inf, -torch.inf
    kept = torch.tensor([s for s in range(40) if s not in (3, 8, 39)])

    found = attributions(broken.flatten(0, 1), masks)
    for one, other in zip(found, attributions(outputs[kept].flatten(0, 1), masks[kept]), strict=True):
        assert torch.equal(one.unimodal, other.unimodal)
        assert torch.equal(one.interaction, other.interaction)
        assert (one.unimodal_r2, one.interaction_r2) == (other.unimodal_r2, other.interaction_r2)
    with pytest.raises(RuntimeError, match=r"^21 of 40 masks gave outputs that are NaN or infinite.*baseline"):
        attributions(torch.cat([outputs[:19], outputs[19:] * torch.inf]).flatten(0, 1), masks)


def test_a_single_unit_whose_masking_gives_nan_is_said_to_do_so() -> None:
    with pytest.raises(RuntimeError, match=r"1 of 2 masks gave outputs that are NaN"):
        attributions(torch.tensor([[1.0], [2.0], [torch.nan], [1.0]]), draw_masks(1, 64), alpha=0.0)
