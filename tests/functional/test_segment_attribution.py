"""What units add to an output, against slow references and against games whose values are known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.batches import floats, integers
from hypothesis import given
from hypothesis import strategies as st
from reference import importance as slow
from reference.slow import every_mask, mask_weights, weighted_ridge
from torch import Tensor

from mviz_lightning.functional.segment_attribution import (
    PERTURBATIONS,
    perturbation_attribution,
    perturbation_masks,
    segment_sums,
    shapley_masks,
    shapley_values,
)


def game(segments: int, seed: int = 0) -> Callable[[frozenset[int]], float]:
    """An output of its own for every set of units."""
    values = floats(2**segments, seed=seed).double()
    return lambda there: float(values[sum(2**unit for unit in there)])


def pairwise(segments: int, seed: int = 0) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A game of single units and of pairs, ``(S, U)`` masks -> ``(S, 1)``, and its Shapley values."""
    alone, pairs = floats(segments, seed=seed).double(), floats(segments, segments, seed=seed + 1).double().triu(1)
    values = alone + (pairs.sum(0) + pairs.sum(1)) / 2
    return (lambda masks: (masks @ alone + ((masks @ pairs) * masks).sum(1) + 3).unsqueeze(1)), values


def explained(method: str, play: Callable[[Tensor], Tensor], segments: int, samples: int | None = None) -> Tensor:
    """Return ``(U,)`` what a method says of a game over masks."""
    masks = perturbation_masks(method, segments, samples).double()
    ends = (play(row)[0] for row in (torch.ones(1, segments).double(), torch.zeros(1, segments).double()))
    return perturbation_attribution(method, play(masks), *ends, segments, samples).weights[:, 0]


@pytest.mark.parametrize(
    ("shape", "index"),
    [
        ((3, 2, 4, 4), integers(6, 1, 1, 4, 4) - 1),
        ((3, 4, 4, 2), integers(6, 1, 4, 4, 1) - 1),
        ((3, 7), integers(6, 3, 7) - 1),
        ((3, 7), integers(6, 3, 1, 1, 7) - 1),
        ((3,), integers(6, 1) - 1),
        ((3, 5, 2), torch.full((1, 5, 2), -1)),
    ],
)
def test_sums_are_those_of_single_entries(shape: tuple[int, ...], index: Tensor) -> None:
    entries = floats(*shape)
    spread = index.reshape(index.shape[0], *shape[1:]) if index[0].numel() == entries[0].numel() else index
    expected = slow.segment_sums(entries.double().numpy(), spread.expand(shape).numpy(), 5)
    np.testing.assert_allclose(segment_sums(entries, index, 5).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_shapley_values_of_all_masks_are_those_of_all_orders_and_of_all_subsets(segments: int) -> None:
    played = game(segments)
    drawn = shapley_masks(segments, 2**segments)
    outputs = torch.tensor(slow.played(played, drawn.masks.tolist())).view(-1, 1)
    whole, without = (torch.tensor([played(frozenset(range(count)))]) for count in (segments, 0))
    found = shapley_values(drawn, outputs, whole, without)[:, 0].numpy()
    np.testing.assert_allclose(found, slow.shapley_of_subsets(played, segments), atol=1e-12)
    np.testing.assert_allclose(found, slow.shapley_of_orders(played, segments), atol=1e-12)


@given(st.integers(4, 12), st.integers(0, 100))
def test_drawn_masks_are_fitted_as_lagrange_would_and_add_up_whatever_was_drawn(segments: int, seed: int) -> None:
    drawn = shapley_masks(segments, 4 * segments, seed)
    masks, weights = drawn.masks, drawn.weights
    outputs, whole, without = (floats(count, 2, seed=seed + k).double() for k, count in enumerate((len(masks), 1, 1)))
    found = shapley_values(drawn, outputs, whole[0], without[0]).numpy()
    np.testing.assert_allclose(found.sum(0), (whole - without)[0].numpy(), atol=1e-9)
    for k in range(2):
        gains, change = (outputs - without)[:, k].numpy(), float((whole - without)[0, k])
        expected = slow.constrained_least_squares(masks.double().numpy(), weights.numpy(), gains, change)
        np.testing.assert_allclose(found[:, k], expected, atol=1e-8)


@pytest.mark.parametrize("samples", [2, 3])
def test_fewer_masks_than_units_still_add_up(samples: int) -> None:
    drawn = shapley_masks(10, samples)
    assert len(drawn.masks) == 2
    found = shapley_values(drawn, floats(2, 1), torch.tensor([3.0]), torch.tensor([1.0]))
    assert float(found.sum()) == pytest.approx(2)


def test_masks_with_their_complements_are_exact_for_single_units_and_pairs() -> None:
    play, truth = pairwise(14)
    drawn = shapley_masks(14, 200, seed=3)
    ends = (play(row)[0] for row in (torch.ones(1, 14).double(), torch.zeros(1, 14).double()))
    found = shapley_values(drawn, play(drawn.masks.double()), *ends)[:, 0]
    torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-8)


def test_more_masks_come_closer_to_the_values_of_a_game_of_every_order() -> None:
    played = game(12)
    truth = slow.shapley_of_subsets(played, 12)
    ends = [torch.tensor([played(frozenset(range(count)))]) for count in (12, 0)]
    errors = []
    for samples in (64, 512, 2048):
        off = []
        for seed in range(4):
            drawn = shapley_masks(12, samples, seed)
            outputs = torch.tensor(slow.played(played, drawn.masks.tolist())).view(-1, 1)
            off.append(np.abs(shapley_values(drawn, outputs, *ends)[:, 0].numpy() - truth).mean())
        errors.append(np.mean(off))
    assert errors[0] > 1.5 * errors[1] > 1.5**2 * errors[2]


@given(st.integers(2, 12), st.integers(2, 600), st.integers(0, 100))
def test_coalitions_are_within_bounds_and_come_in_pairs(segments: int, samples: int, seed: int) -> None:
    drawn = shapley_masks(segments, samples, seed)
    masks, weights = drawn.masks, drawn.weights
    sizes = masks.sum(1)
    assert len(masks) <= samples
    assert bool(((sizes > 0) & (sizes < segments)).all())
    assert bool((weights > 0).all())
    number = (masks.long() * 2 ** torch.arange(segments)).sum(1)
    complement = 2**segments - 1 - number
    assert sorted(number.tolist()) == sorted(complement.tolist())
    assert len(masks) >= min(samples - 1, 2**segments - 2)


@pytest.mark.parametrize("samples", [64, 128, 400, 1000])
def test_weights_of_a_size_add_up_to_its_part_of_the_kernel(samples: int) -> None:
    segments = 12
    share = dict.fromkeys(range(1, segments), 0.0)
    for seed in range(200):
        drawn = shapley_masks(segments, samples, seed)
        for size, weight in zip(drawn.masks.sum(1).tolist(), (drawn.weights / 200).tolist(), strict=True):
            share[size] += weight
    for size, found in share.items():
        assert found == pytest.approx(1 / (size * (segments - size)), rel=0.2)


def test_sizes_that_are_taken_whole_are_there_once() -> None:
    drawn = shapley_masks(12, 1000)
    masks, weights = drawn.masks, drawn.weights
    outer = masks.sum(1) == 1
    assert int(outer.sum()) == 12
    assert len(masks[outer].unique(dim=0)) == 12
    assert weights[outer].tolist() == pytest.approx([1 / (12 * 11)] * 12)


@pytest.mark.parametrize("segments", [0, 1, 4, 30])
@pytest.mark.parametrize("method", PERTURBATIONS)
def test_masks_are_the_same_whenever_they_are_asked_for(method: str, segments: int) -> None:
    first, second = (perturbation_masks(method, segments, seed=5) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape[1] == segments
    if segments == 30 and method != "occlusion":
        assert not torch.equal(first, perturbation_masks(method, segments, seed=6))


@pytest.mark.parametrize(("method", "count"), [("occlusion", 30), ("lime", 120), ("shap", 480)])
def test_a_method_asks_for_as_many_masks_as_is_said(method: str, count: int) -> None:
    assert len(perturbation_masks(method, 30)) == count
    assert len(perturbation_masks(method, 30, 50)) == (30 if method == "occlusion" else 50)


def test_occlusion_is_what_is_lost_without_a_unit() -> None:
    played = game(4)
    found = explained("occlusion", lambda masks: torch.tensor(slow.played(played, masks.tolist())).view(-1, 1), 4)
    everything = frozenset(range(4))
    assert found.tolist() == pytest.approx([played(everything) - played(everything - {unit}) for unit in range(4)])


def test_lime_is_a_weighted_ridge_regression_on_all_masks_whose_penalty_is_shared() -> None:
    played, masks = game(4), every_mask(4)
    found = explained("lime", lambda kept: torch.tensor(slow.played(played, kept.tolist())).view(-1, 1), 4)
    responses = slow.played(played, masks.astype(bool).tolist())
    _, expected = weighted_ridge(masks, responses, mask_weights(masks), alpha=16 / 64)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("segments", [1, 2, 5, 12])
@pytest.mark.parametrize("method", PERTURBATIONS)
def test_all_methods_agree_on_what_is_linear(method: str, segments: int) -> None:
    weights = floats(segments, seed=segments).double()
    found = explained(method, lambda masks: (masks.double() @ weights + 7).unsqueeze(1), segments, 20_000)
    torch.testing.assert_close(found, weights, rtol=2e-3 if method == "lime" else 1e-9, atol=1e-9)


def test_a_single_unit_adds_the_whole_change() -> None:
    for method in PERTURBATIONS:
        assert explained(method, lambda masks: 5 * masks + 1, 1).tolist() == [5.0]


def test_nothing_is_added_by_no_unit() -> None:
    for method in PERTURBATIONS:
        assert explained(method, lambda masks: torch.ones(len(masks), 1), 0).shape == (0,)


def test_outputs_are_explained_one_by_one() -> None:
    outputs = floats(len(perturbation_masks("shap", 5)), 3).double()
    whole, without = floats(3, seed=1).double(), floats(3, seed=2).double()
    together = perturbation_attribution("shap", outputs, whole, without, 5).weights
    for k in range(3):
        alone = perturbation_attribution("shap", outputs[:, [k]], whole[[k]], without[[k]], 5).weights
        torch.testing.assert_close(together[:, [k]], alone)
    assert math.isclose(float(together[:, 1].sum()), float(whole[1] - without[1]))
