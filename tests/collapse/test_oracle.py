"""A training whose collapse is known: two-layer linear late fusion (Zhang, Latham & Saxe, ICML 2024).

The net learns the stronger modality A at t_A and the weaker B at t_B. In between it is collapsed onto A.
"""

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers.few import spread
from reference.alarm import Fusion, half_rise
from torch import Tensor
from torchmetrics import R2Score

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference, anchors
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.functional import design
from mviz_lightning.metrics import ContributionShares, EMAPGap, PerceptualScore
from mviz_lightning.sinks.records import RunRecord, State

WORLDS = [(1.5, 0.0), (2.0, 0.0), (3.0, 0.0), (1.5, 0.5), (2.0, 0.5), (3.0, 0.5)]
worlds = pytest.mark.parametrize(("ratio", "rho"), WORLDS)
EXACT = ScoreReference(chance=0.0, perfect=1.0)


class Told(NamedTuple):
    """A training: the world, when A and B are half learned, and the state after each of many checks."""

    world: Fusion
    t_a: float
    t_b: float
    checks: np.ndarray
    weights: np.ndarray
    rows: list[RunRecord]


@cache
def training(ratio: float, rho: float, count: int = 120) -> Told:
    world = Fusion((ratio, 1.0), rho)
    times, weights = world.flow()
    checks = np.linspace(0, times[-1], count)
    at = np.stack([np.interp(checks, times, weight) for weight in weights.T], 1)
    rows = [RunRecord("fit", number, number, world.measured(found)) for number, found in enumerate(at)]
    return Told(world, *(half_rise(times, weight) for weight in weights.T), checks, at, rows)


def rule(patience: int = 2, expected: tuple[str, ...] | None = ("b",)) -> CollapseRule:
    return CollapseRule(expected, patience, max_total=0.05, max_flips=0.1, max_drop=0.05, min_skill=0.1, min_alone=0.05)


def followed(
    rows: list[RunRecord], found: CollapseRule, score_reference: ScoreReference = EXACT
) -> list[dict[str, Verdict]]:
    return [found.judge(rows[: last + 1], score_reference, ("a", "b")) for last in range(len(rows))]


@worlds
def test_the_weaker_modality_is_learned_when_the_theory_says(ratio: float, rho: float) -> None:
    told = training(ratio, rho)

    assert told.t_b / told.t_a == pytest.approx(told.world.ratio, rel=0.01)


@pytest.mark.parametrize(("ratio", "rho", "expected"), [(1.5, 0.0, 2.25), (2.0, 0.0, 4), (3.0, 0.0, 9), (2.0, 0.5, 5)])
def test_the_theory_is_that_of_the_paper(ratio: float, rho: float, expected: float) -> None:
    assert Fusion((ratio, 1.0), rho).ratio == pytest.approx(expected)


@pytest.mark.long
@worlds
def test_the_smaller_the_initial_weights_the_closer_the_theory(ratio: float, rho: float) -> None:
    errors = []
    for start in (1e-3, 1e-12):
        world = Fusion((ratio, 1.0), rho, start=start)
        found = []
        for seed in range(3):
            times, weights = world.flow(seed)
            t_a, t_b = (half_rise(times, weight) for weight in weights.T)
            found.append(abs(t_b / t_a / world.ratio - 1))
        errors.append(np.mean(found))

    assert errors[1] < errors[0] < 0.02
    assert errors[1] < 0.002


@worlds
def test_before_anything_is_learned_nothing_is_judged(ratio: float, rho: float) -> None:
    told = training(ratio, rho)
    verdicts = followed(told.rows, rule())
    early = [verdict["b"] for verdict, time in zip(verdicts, told.checks, strict=True) if time < 0.8 * told.t_a]

    assert len(early) >= 5
    assert {(verdict.state, verdict.row) for verdict in early} == {(State.USED, None)}


@worlds
def test_between_the_two_times_the_weaker_modality_is_collapsed(ratio: float, rho: float) -> None:
    told = training(ratio, rho)
    spacing = told.checks[1]
    verdicts = followed(told.rows, rule())
    between = [
        verdict["b"]
        for verdict, time in zip(verdicts, told.checks, strict=True)
        if told.t_a + 2 * spacing <= time <= 0.9 * told.t_b
    ]

    assert len(between) >= 20
    assert {verdict.state for verdict in between} == {State.COLLAPSED}
    assert all(verdict.from_start for verdict in between)
    (since,) = {verdict.since.step for verdict in between if verdict.since}
    assert 0.8 * told.t_a <= told.checks[since] <= told.t_a + spacing


@worlds
@pytest.mark.parametrize("patience", [1, 2, 3])
def test_after_the_second_time_it_is_used(ratio: float, rho: float, patience: int) -> None:
    told = training(ratio, rho)
    verdicts = followed(told.rows, rule(patience))
    late = [verdict["b"] for verdict, time in zip(verdicts, told.checks, strict=True) if time >= told.t_b]

    assert len(late) >= 2
    assert {(verdict.state, verdict.from_start) for verdict in late} == {(State.USED, False)}
    (since,) = {verdict.since.step for verdict in late if verdict.since}
    assert 0.85 * told.t_b <= told.checks[since] <= told.t_b + told.checks[1]


@worlds
def test_there_is_one_alarm_and_one_end_of_it(ratio: float, rho: float) -> None:
    states = [verdict["b"].state for verdict in followed(training(ratio, rho).rows, rule())]

    changes = [(one, other) for one, other in pairwise(states) if one != other]
    assert changes == [(State.USED, State.COLLAPSED), (State.COLLAPSED, State.USED)]


@worlds
def test_the_alarm_comes_with_the_last_check_of_patience(ratio: float, rho: float) -> None:
    rows = training(ratio, rho).rows
    first = [
        next(number for number, verdict in enumerate(followed(rows, rule(patience))) if verdict["b"].state)
        for patience in (1, 2, 3)
    ]

    assert first == [first[0], first[0] + 1, first[0] + 2]


@worlds
def test_the_stronger_modality_is_used_throughout(ratio: float, rho: float) -> None:
    verdicts = followed(training(ratio, rho).rows, rule(1, ("a", "b")))

    assert {verdict["a"].state for verdict in verdicts} == {State.USED}


@worlds
def test_without_proof_and_unnamed_it_is_merely_unused(ratio: float, rho: float) -> None:
    rows = training(ratio, rho).rows
    for expected in (None, ("a",)):
        states = {verdict["b"].state for verdict in followed(rows, rule(expected=expected))}
        assert states == {State.USED, State.UNUSED}


def drawn(world: Fusion, groups: int, size: int, seed: int = 0) -> Tensor:
    """``(G, g, 2)`` inputs."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.multivariate_normal(np.zeros(2), world.covariance, (groups, size)))


def asked(inputs: Tensor, weights: np.ndarray) -> dict[str, float]:
    """What the package's metrics find of the linear model, on examples."""
    parts, target = inputs * torch.from_numpy(weights), inputs.sum(-1)
    outputs = parts[:, design(2, inputs.shape[1]).tuples, torch.arange(2)].sum(-1, keepdim=True)
    shares = ContributionShares(("a", "b"), task="regression", group_size=inputs.shape[1])
    shares.update(outputs)
    values = dict(shares.compute())
    for kind in (EMAPGap, PerceptualScore):
        metric = kind(("a", "b"), task="regression", score=R2Score(), group_size=inputs.shape[1])
        metric.update(outputs, target)
        values |= metric.compute()
    return {name: float(value) for name, value in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "rho"), spread(WORLDS, 3))
def test_the_metrics_find_what_the_theory_says(ratio: float, rho: float) -> None:
    told = training(ratio, rho)
    inputs = drawn(told.world, 800, 16)
    for number in np.linspace(1, len(told.rows) - 1, 6).astype(int):
        found = asked(inputs, told.weights[number])
        for name, value in told.rows[number].values.items():
            assert found[name] == pytest.approx(value, rel=0.05, abs=0.02), (number, name)


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "rho"), [(2.0, 0.0), (2.0, 0.5)])
def test_a_probe_of_64_examples_tells_the_same_story(ratio: float, rho: float) -> None:
    told = training(ratio, rho)
    inputs = drawn(told.world, 4, 16, seed=3)
    # A check every so often, as in a training; twice the later ones, for the tail is short.
    chosen = np.arange(0, len(told.rows), 3)
    rows = [RunRecord("fit", int(number), int(number), asked(inputs, told.weights[number])) for number in chosen]
    score_reference = anchors(R2Score(), "regression", inputs.sum(-1).flatten(), 1)
    assert (score_reference.chance, score_reference.perfect) == (pytest.approx(0, abs=1e-6), pytest.approx(1))

    verdicts = followed(rows, rule(), score_reference)
    for verdict, time in zip(verdicts, told.checks[chosen], strict=True):
        if told.t_a + 6 * told.checks[1] <= time <= 0.85 * told.t_b:
            assert verdict["b"].state is State.COLLAPSED
        if time < 0.8 * told.t_a or time > told.t_b:
            assert verdict["b"].state is State.USED
        assert verdict["a"].state is State.USED
