"""The simulation of tests/benchmarks/coverage.py, in a quick form, held to the bounds of the package's promises."""

import dataclasses
from functools import cache

import pytest
import torch
from benchmarks.coverage import THREE, TWO, Model, Simulation, report, simulate
from torch import Tensor

from mviz_lightning.functional import two_way_components

MODELS = (*TWO, *THREE)
REPEATS = 250


@cache
def simulated(name: str, correlation: float) -> Simulation:
    model = next(model for model in MODELS if model.name == name)
    return simulate(model, correlation, REPEATS)


def unbiased(found: Simulation) -> bool:
    return bool((found.bias.abs() <= 0.01 + 3 * found.bias_error).all())


def covering(found: Simulation) -> bool:
    return bool((found.coverage >= 0.85 - 3 * found.coverage_error).all())


@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_shares_are_unbiased_and_their_intervals_cover_the_truth(model: Model, correlation: float) -> None:
    found = simulated(model.name, correlation)

    assert unbiased(found)
    assert covering(found)


def textbook(model: Model, examples: Tensor) -> Tensor:
    """Components by two-way ANOVA on the whole grid of a group."""
    first, second = examples[..., 0].unsqueeze(2), examples[..., 1].unsqueeze(1)
    grids = model.function(torch.stack(torch.broadcast_tensors(first, second), -1))
    one, other, both = two_way_components(grids.unsqueeze(-1)).unbind(-1)
    return torch.stack([one + other + both, one, other, one + both, other + both, both], -1)


def test_the_textbook_anova_fails_both_bounds_for_correlated_examples() -> None:
    found = simulate(TWO[2], 0.9, REPEATS, components=textbook)

    assert not unbiased(found)
    assert not covering(found)


@pytest.mark.parametrize("model", [TWO[1], THREE[1]], ids=lambda model: model.name)
def test_an_interval_of_half_the_width_fails_the_bound_of_coverage(model: Model) -> None:
    found = simulated(model.name, 0.0)
    low, high = (found.value + (bound - found.value) / 2 for bound in (found.low, found.high))

    assert not covering(dataclasses.replace(found, low=low, high=high))


@pytest.mark.parametrize(("model", "correlation"), [(TWO[0], 0.0), (TWO[1], 0.9), (TWO[3], 0.0)])
def test_errors_are_as_small_as_they_were_measured(model: Model, correlation: float) -> None:
    # METHODS: RMSE of total .029, .034 and .038 in 1,500 repeats.
    expected = {(0, 0.0): 0.029, (1, 0.9): 0.034, (3, 0.0): 0.038}[TWO.index(model), correlation]

    assert float(simulated(model.name, correlation).rmse[2]) == pytest.approx(expected, rel=0.2)


def test_a_report_has_a_line_for_every_share() -> None:
    lines = report(THREE[1], 0.9, 3).splitlines()

    assert len(lines) == len(THREE[1].names) == 10
    assert all(name in line for name, line in zip(THREE[1].names, lines, strict=True))
