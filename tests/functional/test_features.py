"""What is computed of fused features, against slow references and known answers."""

import math

import numpy as np
import pytest
import torch
from helpers.batches import floats, integers
from hypothesis import given
from hypothesis import strategies as st
from reference import features as slow

from mviz_lightning import functional
from mviz_lightning.functional import (
    benjamini_hochberg,
    classify_features,
    design,
    effective_rank,
    feature_components,
    main_effects,
    over_represented,
)
from mviz_lightning.functional.features import CONSTANT, UNIMODAL, overlap, rounding_floor, strongest_examples, varies

SIZES = {2: 8, 3: 12}


def responses(modalities, *, features=4, groups=3, additive=False, ignored=None, seed=0):
    """Return planted features ``(G, T, F)`` of a design, and ``(M, G, g, F)`` what each modality adds."""
    plan = design(modalities, SIZES[modalities])
    added = torch.randn(
        modalities, groups, plan.size, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    if ignored is not None:
        added[ignored] = 0
    parts = torch.stack([added[m][:, plan.tuples[:, m]] for m in range(modalities)])
    found = parts.sum(0) if additive else parts.sum(0) + 2 * parts.prod(0)
    return plan, found + 3, added


@pytest.mark.parametrize("modalities", [2, 3])
def test_components_of_every_feature_are_those_of_a_model_with_that_one_output(modalities) -> None:
    plan, found, _ = responses(modalities)
    together = feature_components(found, plan)
    for group in range(3):
        for number in range(4):
            alone = plan.components(found[group, :, [number]])
            torch.testing.assert_close(together[group, number], alone, rtol=1e-10, atol=1e-10)


def test_components_do_not_depend_on_how_many_features_are_taken_at_once(monkeypatch) -> None:
    plan, found, _ = responses(2, features=7)
    whole = feature_components(found, plan)
    monkeypatch.setattr(functional.features, "CHUNK", 3)
    assert torch.equal(feature_components(found, plan), whole)


def test_components_are_taken_in_float64() -> None:
    plan, found, _ = responses(2)
    assert feature_components(found.float(), plan).dtype == torch.float64


def test_what_varies_is_told_from_what_is_constant_rounded_or_small() -> None:
    noise = floats(200)
    columns = [noise, torch.zeros(200), torch.full((200,), 7.3), 1e-6 * noise, 100 + 1e-5 * noise, 50 + noise]
    assert varies(torch.stack(columns, 1)).tolist() == [True, False, False, False, False, True]


def test_coarse_number_types_round_more() -> None:
    feature = (100 + 0.5 * floats(200)).unsqueeze(1)
    assert varies(feature).item()
    assert not varies(feature.bfloat16()).item()


@given(st.lists(st.tuples(*[st.floats(-0.2, 1.2)] * 3, st.booleans()), min_size=1, max_size=8))
def test_classes_are_those_of_the_slow_reference(rows) -> None:
    shares = torch.tensor([row[:3] for row in rows], dtype=torch.float64)
    live = [row[3] for row in rows]
    # Two contributions above 0.8 can only come from noise; then the larger one counts.
    expected = slow.classes(shares.where(shares == shares.amax(1, keepdim=True), -1).numpy(), live, UNIMODAL)
    assert classify_features(shares, torch.tensor(live)).tolist() == expected


def test_classes_begin_at_the_threshold() -> None:
    shares = torch.tensor([[UNIMODAL, 0.2], [0.79, 0.0], [0.1, 0.9], [0.9, 0.1]], dtype=torch.float64)
    assert classify_features(shares, torch.tensor([True, True, True, False])).tolist() == [0, 2, 1, CONSTANT]


@pytest.mark.parametrize("modalities", [2, 3])
def test_main_effects_are_the_least_squares_fit(modalities) -> None:
    plan, found, _ = responses(modalities)
    effects = main_effects(found, plan.tuples).unflatten(1, (3, plan.size))
    for group in range(3):
        expected = slow.main_effects(found[group].numpy(), plan.tuples.numpy())
        np.testing.assert_allclose(effects[:, group].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("modalities", [2, 3])
def test_main_effects_of_additive_features_are_what_was_planted(modalities) -> None:
    plan, found, added = responses(modalities, additive=True)
    expected = (added - added.mean(2, keepdim=True)).flatten(1, 2)
    torch.testing.assert_close(main_effects(found, plan.tuples), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("modalities", [2, 3])
def test_a_modality_that_is_ignored_has_no_main_effects(modalities) -> None:
    plan, found, _ = responses(modalities, additive=True, ignored=1)
    assert float(main_effects(found, plan.tuples)[1].abs().max()) < 1e-12


def test_interactions_of_the_others_leave_main_effects_as_they_are() -> None:
    plan, found, added = responses(3, additive=True)
    b, c = (added[m][:, plan.tuples[:, m]] for m in (1, 2))
    expected = (added[0] - added[0].mean(1, keepdim=True)).flatten(0, 1)
    torch.testing.assert_close(main_effects(found + 5 * b * c, plan.tuples)[0], expected, rtol=0, atol=1e-10)


def test_in_a_grid_main_effects_are_means_of_rows_and_columns() -> None:
    plan, found, _ = responses(2)
    grid = found.unflatten(1, (plan.size, plan.size))
    centred = grid - grid.mean((1, 2), keepdim=True)
    expected = torch.stack([centred.mean(2), centred.mean(1)]).flatten(1, 2)
    torch.testing.assert_close(main_effects(found, plan.tuples), expected)


@pytest.mark.parametrize(
    ("matrix", "rank"),
    [
        (torch.eye(5), 5),
        (torch.ones(4, 3), 1),
        (torch.diag(torch.tensor([1.0, 1.0, 0.0])), 2),
        (torch.diag(torch.tensor([2.0, 1.0, 1.0])), math.exp(0.5 * math.log(2) + 0.5 * math.log(4))),
        (torch.zeros(3, 3), 0),
    ],
)
def test_the_effective_rank_of_known_matrices(matrix, rank) -> None:
    assert effective_rank(matrix, 1e-6) == pytest.approx(rank, rel=1e-6)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (7, 7)])
def test_the_effective_rank_is_that_of_the_slow_reference_and_of_the_transpose(shape) -> None:
    matrix = floats(*shape).double()
    found = effective_rank(matrix)
    assert found == pytest.approx(slow.effective_rank(matrix.numpy()), rel=1e-9)
    assert found == pytest.approx(effective_rank(5 * matrix.T), rel=1e-9)


def test_rounding_adds_no_rank() -> None:
    exact = 100 + floats(60, 1).double() @ floats(1, 200).double()
    rounded = exact.float()
    centred = rounded.double() - rounded.double().mean(0)
    assert effective_rank(centred) > 1.0001
    assert effective_rank(centred, rounding_floor(rounded)) == 1


def test_the_floor_is_far_below_what_matters() -> None:
    features = floats(60, 20)
    assert effective_rank(features, rounding_floor(features)) == effective_rank(features)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 12))
def test_the_strongest_are_those_of_the_slow_reference(values, count) -> None:
    assert strongest_examples(torch.tensor(values).float(), count) == slow.strongest(values, count)


def test_what_is_as_strong_as_the_last_comes_along_if_asked() -> None:
    values = torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0, 0.0])
    assert strongest_examples(values, 2) == [1, 2]
    assert strongest_examples(values, 2, ties=True) == [1, 2, 3, 4]
    assert strongest_examples(values, 5, ties=True) == strongest_examples(values, 9, ties=True) == [1, 2, 3, 4, 0]


def test_nothing_is_strong_in_what_is_constant() -> None:
    assert strongest_examples(torch.zeros(5), 3) == strongest_examples(torch.zeros(5), 3, ties=True) == []


def test_the_overlap_is_the_share_of_either() -> None:
    assert overlap([1, 2, 3], [3, 2, 9]) == 0.5
    assert (overlap([1], [2]), overlap([1, 2], [2, 1]), overlap([], [])) == (0, 1, 1)


@given(st.data())
def test_the_chance_of_hits_is_the_exact_count(data) -> None:
    total = data.draw(st.integers(1, 30))
    drawn, having = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    hits = data.draw(st.integers(max(0, drawn + having - total), min(drawn, having)))
    found = over_represented([hits], drawn, [having], total)
    assert float(found) == pytest.approx(float(slow.at_least(hits, drawn, having, total)), rel=1e-9)


def test_chances_of_many_traits_are_those_of_each() -> None:
    hits, having = [9, 2, 0, 5], [21, 100, 3, 5]
    found = over_represented(hits, 10, having, 512)
    expected = [float(slow.at_least(k, 10, n, 512)) for k, n in zip(hits, having, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8)
    assert len(over_represented([], 10, [], 512)) == 0


@given(st.lists(st.one_of(st.floats(1e-9, 1), st.sampled_from([0.01, 0.02, 0.5])), max_size=12))
def test_false_discoveries_are_those_of_the_slow_reference(p) -> None:
    found = benjamini_hochberg(torch.tensor(p, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), slow.benjamini_hochberg(p), rtol=1e-9)


def test_of_pure_chance_nothing_is_named_in_nineteen_of_twenty_trials() -> None:
    generator = torch.Generator().manual_seed(0)
    named = 0
    for _ in range(400):
        p = torch.rand(30, generator=generator, dtype=torch.float64)
        named += bool((benjamini_hochberg(p) < 0.05).any())
    assert 5 <= named <= 35  # 20 expected, three standard errors and a half


def test_a_known_example_of_benjamini_and_hochberg() -> None:
    # Benjamini & Hochberg (1995), section 4.1: four of fifteen are rejected at 0.05.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
         0.7590, 1.0000]  # fmt: skip
    shuffled = integers(2**30, 15, seed=3).argsort()
    found = benjamini_hochberg(torch.tensor(p, dtype=torch.float64)[shuffled])[shuffled.argsort()]
    assert int((found < 0.05).sum()) == 4
