"""Shapley values and interactions of modalities, against slow references, known answers and another package."""

import numpy as np
import pytest
import torch
from helpers.draws import normal
from reference import coalitions as slow
from reference.importance import Game, shapley_of_orders, shapley_of_subsets
from torch import Tensor

from mviz_lightning.functional import (
    all_coalitions,
    intershap,
    mm_shap,
    modality_shapley,
    permutation_gains,
    shapley_estimate,
    shapley_interactions,
    shapley_shares,
)

PLAYERS = [2, 3, 4, 5]


def drawn(players: int, seed: int = 0) -> tuple[Tensor, Game]:
    """Values of all coalitions, ``(2^M, 1)``, and the same as a game."""
    values = normal(seed, 2**players, 1)
    return values, lambda there: float(values[slow.code(sorted(there)), 0])


def together(players: int) -> Tensor:
    """``(2^M, 1)``: the values of a pure interaction, 1 where all modalities are there and 0 elsewhere."""
    values = torch.zeros(2**players, 1, dtype=torch.float64)
    values[-1] = 1
    return values


def test_coalitions_are_in_the_order_of_their_codes() -> None:
    masks = all_coalitions(3)
    assert [slow.code(row.nonzero().flatten().tolist()) for row in masks] == list(range(8))


@pytest.mark.parametrize("players", PLAYERS)
def test_shapley_values_are_those_of_all_subsets_and_of_all_orders(players: int) -> None:
    values, game = drawn(players)
    found = modality_shapley(values)[:, 0].numpy()
    np.testing.assert_allclose(found, shapley_of_subsets(game, players), atol=1e-12)
    np.testing.assert_allclose(found, shapley_of_orders(game, players), atol=1e-12)


@pytest.mark.parametrize("players", PLAYERS)
def test_shapley_values_add_up(players: int) -> None:
    values = normal(1, 3, 2**players, 2)
    gained = values[:, -1] - values[:, 0]
    torch.testing.assert_close(modality_shapley(values).sum(1), gained)
    torch.testing.assert_close(shapley_interactions(values).sum((1, 2)), gained)


@pytest.mark.parametrize("players", PLAYERS)
def test_interactions_are_those_of_the_paper(players: int) -> None:
    values, game = drawn(players)
    found = shapley_interactions(values)[..., 0].numpy()
    np.testing.assert_allclose(found, slow.interaction_matrix(game, players), atol=1e-12)
    np.testing.assert_array_equal(found, found.T)
    assert float(intershap(shapley_interactions(values))) == pytest.approx(slow.intershap(found), abs=1e-12)


@pytest.mark.parametrize("players", PLAYERS)
def test_rows_of_the_matrix_add_up_to_the_shapley_values(players: int) -> None:
    values = normal(2, 4, 2**players, 3)
    torch.testing.assert_close(shapley_interactions(values).sum(2), modality_shapley(values))


def test_of_two_modalities_they_are_the_closed_form() -> None:
    none, first, second, both = values = normal(3, 4)
    interaction = both - first - second + none
    alone = torch.stack([first - none, second - none])
    torch.testing.assert_close(modality_shapley(values.unsqueeze(1))[:, 0], alone + interaction / 2)
    ratio = interaction.abs() / (interaction.abs() + alone.abs().sum())
    torch.testing.assert_close(intershap(shapley_interactions(values.unsqueeze(1))), ratio)


@pytest.mark.parametrize("players", PLAYERS)
def test_shapiq_finds_the_same(players: int) -> None:
    shapiq = pytest.importorskip("shapiq")
    values, _ = drawn(players, seed=4)
    computer = shapiq.ExactComputer(
        lambda masks: values[(torch.as_tensor(masks).long() * 2 ** torch.arange(players)).sum(1), 0].numpy(),
        n_players=players,
    )
    first, pairs = computer("SV", 1), computer("SII", 2)
    matrix = shapley_interactions(values)[..., 0]
    for i in range(players):
        assert float(modality_shapley(values)[i, 0]) == pytest.approx(first[(i,)], abs=1e-9)
        for j in range(i):
            assert float(matrix[i, j]) == pytest.approx(pairs[(j, i)] / 2, abs=1e-9)


# -- Known answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("players", PLAYERS)
def test_an_additive_model_has_no_interactions(players: int) -> None:
    alone = normal(5, players)
    values = (all_coalitions(players).double() @ alone).unsqueeze(1) + 3
    torch.testing.assert_close(modality_shapley(values)[:, 0], alone)
    assert float(intershap(shapley_interactions(values))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("players", PLAYERS)
def test_a_pure_interaction_of_all_is_shared_equally_and_reads_less_the_more_modalities_there_are(players: int) -> None:
    values = together(players)
    torch.testing.assert_close(modality_shapley(values)[:, 0], torch.full((players,), 1 / players).double())
    assert float(intershap(shapley_interactions(values))) == pytest.approx(players / (2 * (players - 1)))


def test_an_xor_of_two_is_all_interaction() -> None:
    assert float(intershap(shapley_interactions(together(2)))) == 1.0


def test_a_modality_that_does_nothing_gets_nothing_and_changes_nothing() -> None:
    values = normal(6, 8, 1)
    with_dummy = torch.cat([values, values])  # the last modality holds bit 3
    found, alone = shapley_interactions(with_dummy), shapley_interactions(values)
    torch.testing.assert_close(found[:3, :3], alone)
    torch.testing.assert_close(found[3], torch.zeros(4, 1).double())
    torch.testing.assert_close(modality_shapley(with_dummy)[:3], modality_shapley(values))


def test_modalities_that_do_the_same_get_the_same() -> None:
    values = normal(7, 4, 1)[all_coalitions(3).sum(1)]  # only their number counts
    phi = modality_shapley(values)[:, 0]
    torch.testing.assert_close(phi, phi[:1].expand(3))


def test_where_nothing_is_added_the_measures_are_0() -> None:
    nothing = torch.zeros(8, 2)
    assert float(intershap(shapley_interactions(nothing))) == 0
    assert shapley_shares(torch.zeros(3)).tolist() == [0, 0, 0]
    assert mm_shap([torch.zeros(3), torch.zeros(2)]).tolist() == [0, 0]


def test_global_and_local_scores_differ_where_signs_cancel() -> None:
    values = torch.stack([together(2), -together(2)]) + torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 4, 1)
    matrices = shapley_interactions(values.double())
    assert intershap(matrices).tolist() == [0.5, 0.5]
    assert float(intershap(matrices.mean(0))) == 0.0


def test_shares_add_up_whatever_the_sizes() -> None:
    torch.testing.assert_close(shapley_shares(torch.tensor([1.0, 2.0, 5.0])), torch.tensor([0.125, 0.25, 0.625]))
    weights = [normal(8, 5, 2), normal(9, 3, 2), normal(10, 1, 2)]
    expected = torch.stack([found.abs().sum(0) for found in weights]) / torch.cat(weights).abs().sum(0)
    torch.testing.assert_close(mm_shap(weights), expected)


# -- Orders ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("players", [2, 3, 4])
def test_gains_of_an_order_are_those_of_its_growing_coalitions(players: int) -> None:
    values, game = drawn(players)
    gains = slow.gains_of_orders(game, players)
    orders = torch.tensor(list(gains))
    grown = [[slow.code(order[:size]) for size in range(players + 1)] for order in gains]
    found = permutation_gains(values[torch.tensor(grown)], orders)
    np.testing.assert_allclose(found[..., 0].numpy(), np.array(list(gains.values())), atol=1e-12)
    torch.testing.assert_close(found.mean(0), modality_shapley(values))


def test_the_error_is_that_of_a_mean_of_draws() -> None:
    draws = normal(11, 400, 6, 3, 1)
    estimate = shapley_estimate(draws)
    assert float(estimate.value.std()) == pytest.approx(float(estimate.error.mean()), rel=0.1)
    assert bool(shapley_estimate(draws[:, :1]).error.isnan().all())
