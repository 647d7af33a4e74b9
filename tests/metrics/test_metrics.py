"""Contribution shares, the EMAP gap and the perceptual score as metrics."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.draws import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow
from reference.worlds import recombined, responses
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric, R2Score
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from mviz_lightning.explainers import Shares
from mviz_lightning.functional import Deletions, Task, contribution_shares, design, emap, half_splits
from mviz_lightning.metrics import (
    ContributionShares,
    EMAPGap,
    GradedAccuracy,
    LabelRankingAveragePrecision,
    PerceptualScore,
    default_score,
)

seeds = st.integers(0, 10_000)
NAMES = ("image", "text", "audio", "table", "video")


def labels(seed: int, *shape: int, classes: int = 3) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def classification(kind: Callable[..., Metric], modalities: int, size: int, classes: int = 3) -> Metric:
    score = default_score("multiclass", classes)
    return kind(NAMES[:modalities], task="multiclass", score=score, group_size=size)


def rows(modalities: int, size: int, groups: int, seed: int, outputs: int = 3) -> Tensor:
    """``(G, T, C)`` outputs of a model without much structure; a tuple has one output however often it is asked."""
    plan = design(modalities, size)
    return (
        recombined(plan, normal(seed, groups, size, modalities))
        .cumsum(-1)
        .unsqueeze(-1)
        .mul(torch.arange(1.0, outputs + 1))
        .flatten(2)
        .sin()[..., -outputs:]
    )


# -- Default scores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "outputs", "kind"),
    [
        ("multiclass", 3, MulticlassAccuracy),
        ("binary", 1, BinaryAccuracy),
        ("multilabel", 3, LabelRankingAveragePrecision),
        ("regression", 2, R2Score),
    ],
)
def test_each_task_has_its_score(task: Task, outputs: int, kind: type[Metric]) -> None:
    assert isinstance(default_score(task, outputs), kind)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_soft_labels_are_scored_by_their_value(task: Task) -> None:
    assert isinstance(default_score(task, 3, graded=True), GradedAccuracy)


def test_accuracy_counts_examples_and_not_classes() -> None:
    score = default_score("multiclass", 3)
    score.update(torch.eye(3)[[0, 0, 0, 0]], torch.tensor([0, 0, 0, 1]))

    assert score.compute() == 0.75


# -- Contribution shares -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("modalities", "size"), [(2, 6), (3, 12), (5, 20)])
def test_shares_are_those_of_the_components_of_all_groups(modalities: int, size: int) -> None:
    metric = ContributionShares(NAMES[:modalities], task="multiclass", group_size=size)
    outputs = rows(modalities, size, 4, seed=0)
    metric.update(outputs)

    centred = outputs - outputs.mean(-1, keepdim=True)
    deletions = Deletions(metric.design.without_each(centred), metric.design.inflation)
    components = metric.design.components(centred)
    expected = contribution_shares(components, NAMES[:modalities], metric.design.pairs, deletions)
    found = metric.compute()
    assert found.keys() == expected.keys()
    assert all(torch.isclose(found[name], expected[name]) for name in expected)


@given(seeds, st.integers(1, 5))
def test_groups_may_be_added_in_any_pieces(seed: int, piece: int) -> None:
    outputs = rows(2, 4, 5, seed)
    whole, pieces = (ContributionShares(NAMES[:2], task="multiclass", group_size=4) for _ in range(2))
    whole.update(outputs)
    for part in outputs.split(piece):
        pieces.update(part)

    expected, found = whole.compute(), pieces.compute()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
@given(seeds)
def test_an_offset_common_to_all_classes_changes_no_share(seed: int) -> None:
    outputs, offset = rows(2, 6, 4, seed), normal(seed, 4, 36, 1)
    values = []
    for shifted in (outputs, outputs + offset):
        metric = ContributionShares(NAMES[:2], task="multiclass", group_size=6)
        metric.update(shifted)
        values.append(torch.stack(list(metric.compute().values())))

    torch.testing.assert_close(values[0], values[1])


def test_that_offset_does_change_the_shares_of_other_tasks() -> None:
    values = []
    for shifted in (rows(2, 6, 4, 0), rows(2, 6, 4, 0) + normal(0, 4, 36, 1)):
        metric = ContributionShares(NAMES[:2], task="regression", group_size=6)
        metric.update(shifted)
        values.append(metric.compute()["interaction"])

    assert abs(values[0] - values[1]) > 0.01


@pytest.mark.parametrize(("modalities", "size"), [(2, 8), (3, 12), (4, 16), (6, 24)])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_an_additive_model_has_no_interaction(modalities: int, size: int, task: Task) -> None:
    metric = ContributionShares(NAMES[:modalities] + ("more",) * (modalities - 5), task=task, group_size=size)
    values = normal(0, 4, size, modalities, 3)
    metric.update(values[:, metric.design.tuples, torch.arange(modalities)].sum(2))

    assert abs(metric.compute()["interaction"]) < 1e-12


def test_a_scale_makes_the_units_of_targets_irrelevant() -> None:
    unit, values = torch.tensor([1.0, 1e3, 1e-3]), []
    for scale in (torch.ones(3), unit):
        metric = ContributionShares(NAMES[:2], task="regression", group_size=6, scale=scale)
        metric.update(rows(2, 6, 4, seed=1) * scale)
        values.append(torch.stack(list(metric.compute().values())))

    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("shape", [(2, 35, 3), (36, 3), (2, 6, 6, 3)])
def test_outputs_of_another_shape_are_refused_with_the_right_one(shape: tuple[int, ...]) -> None:
    metric = ContributionShares(NAMES[:2], task="multiclass", group_size=6)

    with pytest.raises(ValueError, match=rf"outputs have the shape \({shape[0]}, .*expected \(groups, 36, outputs\)"):
        metric.update(torch.zeros(shape))


def test_a_process_without_a_group_adds_nothing() -> None:
    metric = ContributionShares(NAMES[:2], task="multiclass", group_size=6)
    metric.update(rows(2, 6, 3, seed=2))
    before = metric.compute()
    metric.update(torch.zeros(0, 36, 3))

    assert all(torch.equal(metric.compute()[name], before[name]) for name in before)


def test_a_process_that_never_had_a_group_holds_no_row_of_components_and_not_nothing() -> None:
    # Processes gather what the others hold; an empty list could not be joined.
    metric = ContributionShares(NAMES[:3], task="multiclass", group_size=12)
    metric.update(torch.zeros(0, len(metric.design.tuples), 3))

    assert torch.cat(metric.components).shape == (0, 2 + 2 * 3 + 3)


def test_a_reset_forgets_all_groups() -> None:
    metric = ContributionShares(NAMES[:2], task="multiclass", group_size=6)
    for seed in (3, 4):
        metric.reset()
        metric.update(rows(2, 6, 3, seed))
    fresh = ContributionShares(NAMES[:2], task="multiclass", group_size=6)
    fresh.update(rows(2, 6, 3, 4))

    assert metric.compute() == fresh.compute()


@pytest.mark.parametrize(("pairs", "count"), [(None, 3), (True, 3), (False, 0)])
def test_pairs_are_given_when_asked(pairs: bool | None, count: int) -> None:
    metric = ContributionShares(NAMES[:3], task="regression", group_size=12, pairs=pairs)
    metric.update(normal(0, 2, len(metric.design.tuples), 1))

    assert sum(name.startswith("interaction/") for name in metric.compute()) == count


# -- The score side ----------------------------------------------------------------------------------------------------


@given(seeds)
@settings(max_examples=8)
def test_the_emap_gap_of_two_modalities_equals_the_loops(seed: int) -> None:
    outputs, target = rows(2, 6, 3, seed), labels(seed, 3, 6)
    metric = classification(EMAPGap, 2, 6)
    metric.update(outputs, target)
    found = {name: float(value) for name, value in metric.compute().items()}

    grids, halves = outputs.view(3, 6, 6, 3).numpy(), half_splits(6, 4, 0).flatten(0, 1).tolist()

    def scores(groups: list[int]) -> tuple[float, float]:
        real = [grid[i, i] for grid in grids[groups] for i in range(6)]
        unimodal = slow.extrapolated_emap_score(grids[groups], target[groups].numpy(), halves)
        return slow.accuracy(real, target[groups].flatten().tolist()), unimodal

    real, unimodal = scores([0, 1, 2])
    deleted = [full - additive for full, additive in map(scores, ([1, 2], [0, 2], [0, 1]))]
    half = 4.302652729911275 * (2 / 3 * sum((gap - np.mean(deleted)) ** 2 for gap in deleted)) ** 0.5  # t(2) at 0.975
    gap = real - unimodal
    expected = {"score": real, "emap_score": unimodal, "emap_gap": gap}
    assert found == pytest.approx(expected | {"emap_gap_low": gap - half, "emap_gap_high": gap + half}, abs=1e-6)


def test_the_emap_gap_of_three_modalities_equals_the_loops() -> None:
    plan, outputs, target = design(3, 12), rows(3, 12, 2, seed=1), labels(1, 2, 12)
    metric = classification(EMAPGap, 3, 12)
    metric.update(outputs, target)
    count = 8 * (2 + 3 + 3)  # draws of u, v, three single swaps and three pairs, each of them a tuple an example
    tuples, draw = plan.tuples[: count * 12], torch.arange(8).repeat_interleave(12).repeat(2 + 3 + 3)

    def accuracy(used: Tensor) -> float:
        fits = [slow.additive_fit(tuples[used].numpy(), group[: len(tuples)][used].numpy(), 12) for group in outputs]
        return slow.accuracy(np.concatenate(fits), target.flatten().tolist())

    halves = half_splits(8, 4, 0).flatten(0, 1)
    expected = 2 * accuracy(draw >= 0) - np.mean([accuracy(torch.isin(draw, half)) for half in halves])
    assert float(metric.compute()["emap_score"]) == pytest.approx(expected, abs=1e-6)


@given(seeds)
@settings(max_examples=8)
def test_the_perceptual_score_of_two_modalities_equals_the_loops(seed: int) -> None:
    outputs, target = rows(2, 6, 3, seed), labels(seed, 3, 6)
    metric = classification(PerceptualScore, 2, 6)
    metric.update(outputs, target)

    grids = outputs.view(3, 6, 6, 3).numpy()
    expected = {f"perceptual/{NAMES[m]}": slow.perceptual_score(grids, target.numpy(), m) for m in range(2)}
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(expected, abs=1e-6)


def test_the_perceptual_score_of_three_modalities_equals_the_loops() -> None:
    plan, outputs, target = design(3, 12), rows(3, 12, 2, seed=2), labels(2, 2, 12)
    metric = classification(PerceptualScore, 3, 12)
    metric.update(outputs, target)
    swapped = [row for row in plan.tuples[-3 * 4 * 12 :].tolist() if row[1] != row[0] == row[2]]
    assert len(swapped) == 4 * 12

    hits, real = [], []
    for group, truth in zip(outputs, target, strict=True):
        by_tuple = responses(plan, group)
        hits += [int(np.argmax(by_tuple[tuple(row)])) == int(truth[row[0]]) for row in swapped]
        real += [int(np.argmax(by_tuple[(i, i, i)])) == int(truth[i]) for i in range(12)]
    assert float(metric.compute()["perceptual/text"]) == pytest.approx(np.mean(real) - np.mean(hits), abs=1e-6)


@pytest.mark.parametrize("kind", [EMAPGap, PerceptualScore])
def test_scores_may_be_added_in_any_pieces(kind: Callable[..., Metric]) -> None:
    outputs, target = rows(2, 6, 4, seed=3), labels(3, 4, 6)
    whole, pieces = classification(kind, 2, 6), classification(kind, 2, 6)
    whole.update(outputs, target)
    for group in range(4):
        pieces.update(outputs[group : group + 1], target[group : group + 1])

    assert whole.compute() == pieces.compute()


@pytest.mark.parametrize("kind", [EMAPGap, PerceptualScore])
def test_a_reset_forgets_all_scores(kind: Callable[..., Metric]) -> None:
    metric, fresh = classification(kind, 2, 6), classification(kind, 2, 6)
    metric.update(rows(2, 6, 4, seed=3), labels(3, 4, 6))
    metric.reset()
    for part in (metric, fresh):
        part.update(rows(2, 6, 4, seed=4), labels(4, 4, 6))

    assert metric.compute() == fresh.compute()


@pytest.mark.parametrize("kind", [EMAPGap, PerceptualScore])
def test_a_process_without_a_group_scores_nothing(kind: Callable[..., Metric]) -> None:
    metric, fresh = classification(kind, 2, 6), classification(kind, 2, 6)
    metric.update(torch.zeros(0, 36, 3), torch.zeros(0, 6, dtype=torch.long))
    for part in (metric, fresh):
        part.update(rows(2, 6, 4, seed=4), labels(4, 4, 6))

    assert metric.compute() == fresh.compute()


def test_a_score_that_is_given_is_left_as_it_was() -> None:
    score = default_score("multiclass", 3)
    for kind in (EMAPGap, PerceptualScore):
        metric = kind(NAMES[:2], task="multiclass", score=score, group_size=6)
        metric.update(rows(2, 6, 4, seed=5), labels(5, 4, 6))

    assert not score.update_called


@pytest.mark.parametrize(
    ("task", "outputs", "target"),
    [
        ("binary", 1, labels(0, 4, 6, classes=2)),
        ("multilabel", 3, labels(0, 4, 6, 3, classes=2)),
        ("regression", 1, normal(0, 4, 6)),
        ("regression", 2, normal(0, 4, 6, 2)),
    ],
)
def test_every_task_is_scored(task: Task, outputs: int, target: Tensor) -> None:
    for kind in (EMAPGap, PerceptualScore):
        metric = kind(NAMES[:2], task=task, score=default_score(task, outputs), group_size=6)
        metric.update(rows(2, 6, 4, seed=6, outputs=outputs), target)

        assert all(value.isfinite() for value in metric.compute().values())


def test_another_metric_may_be_the_score() -> None:
    outputs, target = rows(2, 6, 4, seed=7, outputs=1), normal(7, 4, 6)
    metric = EMAPGap(NAMES[:2], task="regression", score=MeanSquaredError(), group_size=6)
    metric.update(outputs, target)

    real = outputs.view(4, 6, 6).diagonal(dim1=1, dim2=2)
    assert float(metric.compute()["score"]) == pytest.approx(float((real - target).square().mean()), rel=1e-5)


def test_an_additive_model_has_no_gap_and_loses_by_every_modality() -> None:
    values = normal(8, 8, 8, 2, 3)
    plan, real = design(2, 8), values.sum(2).argmax(-1)
    outputs = values[:, plan.tuples, torch.arange(2)].sum(2)
    gap, perceptual = classification(EMAPGap, 2, 8), classification(PerceptualScore, 2, 8)
    for metric in (gap, perceptual):
        metric.update(outputs, real)

    assert gap.compute() == {"score": 1, "emap_score": 1, "emap_gap": 0, "emap_gap_low": 0, "emap_gap_high": 0}
    assert all(value > 0.1 for value in perceptual.compute().values())


def test_a_modality_that_is_ignored_has_no_perceptual_score() -> None:
    plan = design(2, 8)
    outputs = normal(9, 8, 8, 3)[:, plan.tuples[:, 0]]
    metric = classification(PerceptualScore, 2, 8)
    metric.update(outputs, labels(9, 8, 8))

    assert metric.compute()["perceptual/text"] == 0


def modular_grids(count: int) -> tuple[Tensor, Tensor]:
    """A perfect model of ``(a + b) mod 4``, which no additive model beats chance at."""
    a, b = labels(10, 2, count, 64, classes=4)
    target = (a[:, :, None] + b[:, None, :]) % 4
    return torch.eye(4, dtype=torch.float64)[target], target.diagonal(dim1=1, dim2=2)


def test_the_emap_score_of_a_sum_modulo_four_is_close_to_chance() -> None:
    grids, target = modular_grids(100)
    metric = classification(EMAPGap, 2, 64, classes=4)
    metric.update(grids.flatten(1, 2), target)

    found = metric.compute()
    assert found["score"] == 1
    assert float(found["emap_score"]) == pytest.approx(0.265, abs=0.02)


def test_own_donors_inflate_that_score_as_published() -> None:
    grids, target = modular_grids(100)

    inflated = (emap(grids).argmax(-1) == target).double().mean()
    assert float(inflated) == pytest.approx(0.363, abs=0.02)


@pytest.mark.parametrize(("modalities", "pairs"), [(2, None), (3, None), (3, False), (5, None), (5, True)])
def test_scores_read_the_rows_that_the_shares_were_planned_with(modalities: int, pairs: bool | None) -> None:
    method = Shares(NAMES[:modalities], "multiclass", group_size=20, pairs=pairs)
    groups, values = torch.arange(80).view(4, 20), normal(11, 80, modalities, 3)
    outputs = values[method.plan(groups).sources, torch.arange(modalities)].sum(1)
    probe = SimpleNamespace(target=values.sum(1).argmax(-1), groups=groups)

    found = method.explain(method.metrics(probe, outputs, groups))
    assert found["score"] == found["emap_score"] == 1


def test_shares_of_outputs_in_half_precision_are_computed_in_float64() -> None:
    outputs = rows(2, 6, 4, seed=12).half()
    metric = ContributionShares(NAMES[:2], task="multiclass", group_size=6)
    metric.update(outputs)
    exact = ContributionShares(NAMES[:2], task="multiclass", group_size=6)
    exact.update(outputs.double())

    assert metric.compute() == exact.compute()


@pytest.mark.parametrize("masked", [-torch.inf, torch.finfo(torch.float64).min, -1e9])
@pytest.mark.parametrize("kind", [EMAPGap, PerceptualScore, ContributionShares])
def test_a_masked_class_leaves_metrics_as_they_are_without_it(kind: Callable[..., Metric], masked: float) -> None:
    outputs, target = rows(2, 8, 3, seed=14), labels(15, 3, 8)
    found = []
    for logits in (outputs, torch.cat([outputs, torch.full_like(outputs[..., :1], masked)], -1)):
        own = {} if kind is ContributionShares else {"score": default_score("multiclass", logits.shape[-1])}
        metric = kind(NAMES[:2], task="multiclass", group_size=8, **own)
        metric.update(logits, *([target] if own else []))
        found.append({name: float(value) for name, value in metric.compute().items()})

    assert found[1] == pytest.approx(found[0], abs=1e-12)
