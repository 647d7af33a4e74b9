"""What inputs tell about labels without a model: against scikit-learn, in loops, and on data that tell nothing."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.draws import normal
from hypothesis import given
from hypothesis import strategies as st
from reference import alarm as slow
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeCV
from torch import Tensor

from mviz_lightning.functional import gaussian_kernel, kernel_ridge_predictions, ridge, standardised_kernel
from mviz_lightning.functional.ridge import (
    COLUMNS,
    PENALTIES,
    KernelChoice,
    _centred,
    _Fit,
    chosen_predictions,
    near_duplicates,
)

seeds = st.integers(0, 10_000)
NAN, INF = float("nan"), float("inf")


def parts(count: int, folds: int = 3, seed: int = 0) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % folds


def close(found: Tensor, expected: object) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-7)


# -- Kernels -----------------------------------------------------------------------------------------------------------


@given(seeds, st.integers(2, 12), st.integers(1, 20))
def test_the_kernel_is_that_of_standardised_columns(seed: int, count: int, columns: int) -> None:
    features = normal(seed, count, columns) * 10 ** normal(seed + 1, columns) + normal(seed + 2, columns)
    scaled = slow.standardised(features.numpy())

    close(standardised_kernel(features), scaled @ scaled.T)


@given(seeds)
def test_what_is_not_finite_counts_as_the_columns_mean(seed: int) -> None:
    features = normal(seed, 8, 5)
    features[0, 0], features[1, 1], features[2, 2], features[:6, 3], features[:, 4] = NAN, INF, -INF, NAN, NAN
    scaled = slow.standardised(features.numpy())
    assert scaled.shape == (8, 4)

    close(standardised_kernel(features), scaled @ scaled.T)


@pytest.mark.parametrize("count", [7, 10, 49, 64])
def test_constant_columns_count_for_nothing_though_their_mean_is_rounded(count: int) -> None:
    features = normal(0, count, 3)
    constants = torch.linspace(-1, 1, 200, dtype=torch.float64).repeat(2).expand(count, -1) * 1e3
    assert ((constants - constants.mean(0)) != 0).any()

    close(standardised_kernel(torch.cat([features, constants], 1)), standardised_kernel(features).numpy())
    for tiny in (constants, constants.float(), constants * 1e-30):
        assert not standardised_kernel(tiny).any()


@pytest.mark.parametrize("unit", [1e-30, 1 / 255**2, 1e-3, 255.0, 1e12])
def test_no_unit_changes_anything(unit: float) -> None:
    features = normal(1, 12, 6)

    close(standardised_kernel(features * unit), standardised_kernel(features).numpy())


def test_pixels_divided_by_255_twice_tell_what_they_told() -> None:
    pixels = torch.randint(256, (20, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).flatten(1)
    once, twice = pixels.float() / 255, pixels.float() / 255 / 255

    for divided in (once, twice):
        np.testing.assert_allclose(standardised_kernel(divided), standardised_kernel(pixels), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.int32, torch.uint8])
def test_every_type_of_numbers_is_read_exactly(dtype: torch.dtype) -> None:
    features = torch.randint(0, 100, (9, 7), generator=torch.Generator().manual_seed(1)).to(dtype)
    before = features.clone()

    assert torch.equal(standardised_kernel(features), standardised_kernel(features.double()))
    assert torch.equal(features, before)


def test_truth_values_are_numbers_too() -> None:
    features = normal(2, 9, 7) > 0

    assert torch.equal(standardised_kernel(features), standardised_kernel(features.double()))


def test_half_precision_does_not_overflow() -> None:
    features = torch.tensor([[60000.0, 1.0], [-60000.0, 2.0], [0.0, 3.0]], dtype=torch.float16)

    assert standardised_kernel(features).isfinite().all()


@pytest.mark.long
@pytest.mark.parametrize("columns", [COLUMNS - 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 5])
def test_many_columns_are_read_in_pieces_and_all_of_them(columns: int) -> None:
    features = normal(3, 6, columns)
    features[:, -1] *= 1e6
    scaled = slow.standardised(features.numpy())

    close(standardised_kernel(features), scaled @ scaled.T)


def test_pieces_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    features, widest = normal(4, 5, 100), []
    monkeypatch.setattr(ridge, "COLUMNS", 7)
    nan_to_num = Tensor.nan_to_num
    monkeypatch.setattr(Tensor, "nan_to_num", lambda x, *more: widest.append(x.shape[-1]) or nan_to_num(x, *more))
    standardised_kernel(features)

    assert max(widest) == 7


@pytest.mark.parametrize("features", [torch.zeros(6, 0), torch.ones(6, 3), torch.full((6, 2), NAN)])
def test_inputs_that_say_nothing_have_an_empty_kernel(features: Tensor) -> None:
    kernel = standardised_kernel(features)

    assert kernel.shape == (6, 6)
    assert not kernel.any()
    assert not gaussian_kernel(kernel).any()


@given(seeds, st.integers(3, 12))
def test_the_gaussian_kernel_is_as_wide_as_examples_are_apart(seed: int, count: int) -> None:
    features = slow.standardised(normal(seed, count, 4).numpy())

    close(gaussian_kernel(torch.from_numpy(features @ features.T)), slow.gaussian(features))


def test_examples_that_are_mostly_alike_have_no_width() -> None:
    features = torch.zeros(20, 1)
    features[0] = 1

    assert not gaussian_kernel(standardised_kernel(features)).any()


@pytest.mark.parametrize("error", [-4e-16, 4e-16])
def test_rounding_in_the_kernel_tells_no_copies_apart(error: float) -> None:
    features = torch.tensor([[0.1], [0.7], [0.1]]).repeat(8, 1)
    exact = standardised_kernel(features)
    kernel = exact + error * (1 - torch.eye(24, dtype=torch.float64))  # another processor's

    assert near_duplicates(kernel, 1).tolist() == [0, 1, 0] * 8
    assert torch.equal(gaussian_kernel(kernel), torch.zeros(24, 24, dtype=torch.float64))


def test_what_is_constant_where_it_is_fitted_foretells_the_mean() -> None:
    folds = torch.arange(40) // 20
    features = 0.3 + 0.1 * (folds.unsqueeze(1) == torch.arange(1, 2)).double() * normal(0, 40, 1)
    above = torch.triu(normal(1, 40, 40), 1)
    kernel = standardised_kernel(features) * (1 + 2e-16 * (above + above.T))  # another processor's
    targets = normal(2, 40, 1)
    found = kernel_ridge_predictions([kernel], targets, folds)

    close(found[folds == 1], targets[folds == 0].mean(0).expand(20, 1).numpy())


# -- Regression --------------------------------------------------------------------------------------------------------


def fitted(features: Tensor, targets: Tensor, inside: Tensor, outside: Tensor) -> tuple[float, Tensor]:
    mean = targets[inside].mean(0)
    fit = _Fit.of(*_centred(features @ features.T, inside, outside), targets[inside] - mean)
    _, penalties = KernelChoice(1).best(fit.errors[None])
    error = float(fit.errors[penalties[0]].sum())  # all targets share the penalty
    return error, fit.held_out(torch.arange(targets.shape[1]), penalties) + mean


def scale_of(features: Tensor) -> float:
    """The mean eigenvalue of the centred kernel."""
    return float((features - features.mean(0)).square().sum() / len(features))


@pytest.mark.slow
@given(seeds, st.sampled_from([1, 3, 30]), st.sampled_from([1, 3]))
def test_one_fit_is_scikit_learns_ridge_with_the_penalty_that_leave_one_out_chooses(
    seed: int, columns: int, outputs: int
) -> None:
    features, order = normal(seed, 20, columns) + 3, torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    targets = features[:, :1] * 0.5 + normal(seed + 1, 20, outputs) + 7
    inside, outside = order[:14], order[14:]
    error, found = fitted(features, targets, inside, outside)

    x, y = features[inside].numpy(), targets[inside].numpy()
    missed = {}
    for penalty in (penalty * scale_of(features[inside]) for penalty in PENALTIES):
        one_out = [
            y[i] - Ridge(alpha=penalty).fit(np.delete(x, i, 0), np.delete(y, i, 0)).predict(x[[i]])[0]
            for i in range(14)
        ]
        missed[penalty] = float(np.square(one_out).sum())
    best = min(missed, key=missed.__getitem__)
    assert error == pytest.approx(missed[best], rel=1e-6)
    expected = Ridge(alpha=best).fit(x, y).predict(features[outside].numpy()).reshape(6, outputs)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_penalty_is_that_of_scikit_learns_cross_validation() -> None:
    features = normal(0, 40, 10)
    targets = features[:, :1] + normal(1, 40, 1)
    inside, outside = torch.arange(30), torch.arange(30, 40)
    alphas = [penalty * scale_of(features[inside]) for penalty in PENALTIES]
    expected = RidgeCV(alphas).fit(features[inside], targets[inside, 0]).predict(features[outside])

    close(fitted(features, targets, inside, outside)[1][:, 0], expected)


@pytest.mark.long
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("columns", [1, 4, 25])
def test_held_out_folds_are_predicted_as_by_the_loops(columns: int, outputs: int) -> None:
    features = normal(columns, 15, columns)
    targets = features[:, :1].sin() + 0.3 * normal(5, 15, outputs)
    folds = parts(15)
    scaled = slow.standardised(features.numpy())
    kernels = [scaled @ scaled.T, slow.gaussian(scaled)]

    linear = standardised_kernel(features)
    found = kernel_ridge_predictions([linear, gaussian_kernel(linear)], targets, folds)
    close(found, slow.held_out(kernels, targets.numpy(), folds.numpy(), PENALTIES))


@pytest.mark.slow
def test_several_choices_among_the_same_kernels_are_each_the_loops_alone() -> None:
    features = normal(20, 15, 4)
    targets = torch.stack([features[:, 0], features[:, 1].square(), normal(21, 15)], 1)
    folds, linear = parts(15), standardised_kernel(features)
    scaled = slow.standardised(features.numpy())
    loops = [scaled @ scaled.T, slow.gaussian(scaled)]
    choices = [KernelChoice(count, each) for count in (1, 2) for each in (False, True)]
    found = chosen_predictions([linear, gaussian_kernel(linear)], choices, targets, folds)

    for choice, predicted in zip(choices, found, strict=True):
        pieces = targets.numpy().T[:, :, None] if choice.each else [targets.numpy()]
        expected = [slow.held_out(loops[: choice.count], piece, folds.numpy(), PENALTIES) for piece in pieces]
        close(predicted, np.concatenate(expected, 1))
    assert all(not torch.equal(one, other) for one, other in pairwise(found))


def test_a_precomputed_kernel_and_its_features_are_one_regression() -> None:
    """The loops themselves, against scikit-learn's regression on features."""
    features, targets = normal(6, 12, 3).numpy(), normal(7, 12, 2).numpy()
    inside, outside = np.arange(9), np.arange(9, 12)
    found = slow.ridge(features @ features.T, targets, inside, outside, 0.7)

    np.testing.assert_allclose(
        found, Ridge(alpha=0.7).fit(features[inside], targets[inside]).predict(features[outside])
    )
    centre = features[inside].mean(0), targets[inside].mean(0)
    model = KernelRidge(alpha=0.7).fit(features[inside] - centre[0], targets[inside] - centre[1])
    np.testing.assert_allclose(found, model.predict(features[outside] - centre[0]) + centre[1])


@given(seeds)
def test_an_offset_of_inputs_or_targets_changes_nothing(seed: int) -> None:
    features, targets, folds = normal(seed, 15, 3), normal(seed + 1, 15, 2), parts(15)
    plain = kernel_ridge_predictions([features @ features.T], targets, folds)
    moved = features + 5

    np.testing.assert_allclose(kernel_ridge_predictions([moved @ moved.T], targets, folds), plain, atol=1e-6)
    np.testing.assert_allclose(
        kernel_ridge_predictions([features @ features.T], targets + 9, folds), plain + 9, atol=1e-9
    )


@given(seeds)
def test_no_example_is_predicted_from_its_own_label_or_those_of_its_fold(seed: int) -> None:
    features, targets, folds = normal(seed, 16, 4), normal(seed + 1, 16, 2), parts(16, 4)
    kernel = standardised_kernel(features)
    before = kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], targets, folds)
    changed = torch.where((folds == 2)[:, None], 1e6, targets)
    after = kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], changed, folds)

    assert torch.equal(after[folds == 2], before[folds == 2])
    assert (after[folds != 2] != before[folds != 2]).any()


@pytest.mark.parametrize("folds", [torch.tensor([3, 3, 3, 9, 9, 9, 9, 9]), torch.arange(8)])
def test_folds_may_bear_any_numbers_and_hold_any_number_of_examples(folds: Tensor) -> None:
    features = normal(8, 8, 2)
    targets = features[:, :1]
    scaled = slow.standardised(features.numpy())

    found = kernel_ridge_predictions([standardised_kernel(features)], targets, folds)
    close(found, slow.held_out([scaled @ scaled.T], targets.numpy(), folds.numpy(), PENALTIES))


@pytest.mark.parametrize("kernel", [torch.zeros(12, 12, dtype=torch.float64), torch.ones(12, 12, dtype=torch.float64)])
def test_inputs_that_say_nothing_predict_the_mean(kernel: Tensor) -> None:
    targets, folds = normal(9, 12, 2), parts(12)
    expected = torch.stack([targets[folds != fold].mean(0) for fold in range(3)])[folds]

    close(kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], targets, folds), expected.numpy())


def test_targets_that_do_not_vary_are_predicted_as_they_are() -> None:
    kernel = standardised_kernel(normal(10, 12, 30))

    close(
        kernel_ridge_predictions(
            [kernel, gaussian_kernel(kernel)], torch.full((12, 2), 3.0, dtype=torch.float64), parts(12)
        ),
        3.0,
    )


def explained(features: Tensor, targets: Tensor, folds: Tensor) -> float:
    kernel = standardised_kernel(features)
    missed = (targets - kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], targets, folds)).square().sum()
    usual = torch.stack([targets[folds != fold].mean(0) for fold in range(int(folds.max()) + 1)])[folds]
    return float(1 - missed / (targets - usual).square().sum())


@pytest.mark.parametrize("columns", [1, 50, 500])
def test_a_straight_line_is_found_among_any_number_of_columns(columns: int) -> None:
    features = normal(11, 200, columns)
    targets = features[:, :1] if columns == 1 else features[:, :25].sum(1, keepdim=True)

    assert explained(features, targets, parts(200, 5)) > {1: 0.999, 50: 0.99, 500: 0.05}[columns]


def test_a_curve_is_found_by_the_gaussian_kernel_alone() -> None:
    features, folds = normal(12, 200, 1), parts(200, 5)
    targets = features.square()

    assert explained(features, targets, folds) > 0.9
    linear = kernel_ridge_predictions([standardised_kernel(features)], targets, folds)
    assert float((targets - linear).square().mean() / targets.var()) > 0.9


@pytest.mark.parametrize("columns", [1, 20, 2000])
def test_labels_in_another_order_tell_nothing(columns: int) -> None:
    features = normal(13, 100, columns)
    targets = features[:, :1].sign()
    found = [
        explained(features, targets[torch.randperm(100, generator=torch.Generator().manual_seed(seed))], parts(100, 5))
        for seed in range(20)
    ]

    assert np.mean(found) < 0
    assert max(found) < 0.15


def test_penalties_are_large_enough_that_noise_costs_little() -> None:
    folds = parts(64, 5)
    found = []
    for seed in range(10):
        targets = normal(100 + seed, 64, 1)
        predicted = kernel_ridge_predictions([standardised_kernel(normal(seed, 64, 20))], targets, folds)
        found.append(float(1 - (targets - predicted).square().mean() / targets.var()))

    assert np.mean(found) > -0.1
