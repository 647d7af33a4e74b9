"""Flips, perceptual score and EMAP gap as pure functions, against loops and against their metrics."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers.draws import normal
from hypothesis import given
from hypothesis import strategies as st
from reference import alarm, slow
from reference.worlds import recombined, responses
from torch import Tensor
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MultilabelAccuracy
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.classification import binary_accuracy, multiclass_accuracy, multilabel_accuracy

from mviz_lightning.functional import Design, Task, design, emap_gap, perceptual_score, prediction_flips
from mviz_lightning.functional.flips import FlipCounts, flip_counts, flip_rates
from mviz_lightning.metrics import EMAPGap, PerceptualScore, PredictionFlips

NAMES = ("image", "text", "audio")
seeds = st.integers(0, 10_000)
sizes = pytest.mark.parametrize(("modalities", "size"), [(2, 5), (3, 12)])
tasks = pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("binary", 1), ("multilabel", 2)])


def rows(plan: Design, groups: int, outputs: int, seed: int) -> Tensor:
    """``(G, T, C)`` outputs of a model in which the modalities count differently, and interact."""
    inputs = recombined(plan, normal(seed, groups, plan.size, plan.modalities))
    inputs = inputs * torch.arange(1.0, plan.modalities + 1)
    return torch.stack([(k * inputs).sin().sum(-1) + inputs.prod(-1) / 3 for k in range(1, outputs + 1)], -1) - 0.1


def labels(task: Task, seed: int, *shape: int, outputs: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randint(
        3 if task == "multiclass" else 2, (*shape, *([outputs] * (task == "multilabel"))), generator=generator
    )


def scores(task: Task, outputs: int):
    """Return a task's accuracy twice: as a function and as a metric."""
    if task == "binary":
        return binary_accuracy, BinaryAccuracy()
    function, metric = {
        "multiclass": (multiclass_accuracy, MulticlassAccuracy),
        "multilabel": (multilabel_accuracy, MultilabelAccuracy),
    }[task]
    return partial(function, average="micro", **{COUNT[task]: outputs}), metric(outputs, average="micro")


COUNT = {"multiclass": "num_classes", "multilabel": "num_labels"}


def donors(plan: Design, modality: int) -> np.ndarray:
    """``(g, D)`` from whom each example's modality is taken, read from the tuples that differ in it alone."""
    tuples = plan.tuples.tolist()
    tuples = tuples if plan.modalities == 2 else tuples[-plan.modalities * 4 * plan.size :]
    found: list[list[int]] = [[] for _ in range(plan.size)]
    for row in tuples:
        rest = {number for place, number in enumerate(row) if place != modality}
        if len(rest) == 1 and row[modality] not in rest:
            found[rest.pop()].append(row[modality])
    return np.array(found)


@sizes
@tasks
@given(seeds)
def test_flips_are_those_of_the_loops(modalities: int, size: int, task: Task, outputs: int, seed: int) -> None:
    plan = design(modalities, size)
    given = rows(plan, 2, outputs, seed)
    groups = [responses(plan, group) for group in given]
    expected = [alarm.flips(groups, donors(plan, m), m, task) for m in range(modalities)]

    assert prediction_flips(given, plan, task=task).tolist() == pytest.approx(expected)


@sizes
@tasks
def test_flips_are_those_of_the_metric(modalities: int, size: int, task: Task, outputs: int) -> None:
    plan = design(modalities, size)
    given = rows(plan, 4, outputs, seed=1)
    metric = PredictionFlips(NAMES[:modalities], task=task, group_size=size)
    metric.update(given[:1])
    metric.update(given[1:])

    assert torch.equal(torch.stack(list(metric.compute().values())), prediction_flips(given, plan, task=task))


def test_counts_of_batches_add_up() -> None:
    plan = design(2, 6)
    given = rows(plan, 5, 3, seed=2)
    parts = [flip_counts(part, plan, "multiclass") for part in (given[:2], given[2:])]
    together = FlipCounts(*(sum(values) for values in zip(*parts, strict=True)))

    assert torch.equal(flip_rates(together), prediction_flips(given, plan, task="multiclass"))
    assert (int(together.swaps), int(together.examples)) == (5 * 6 * 5, 5 * 6)


def test_a_regression_flips_nothing() -> None:
    with pytest.raises(ValueError, match="task='regression'"):
        prediction_flips(torch.zeros(1, 16, 1), design(2, 4), task="regression")


@given(seeds)
def test_the_perceptual_score_and_the_gap_are_those_of_the_loops(seed: int) -> None:
    plan, (score, _) = design(2, 5), scores("multiclass", 3)
    given, target = rows(plan, 3, 3, seed), labels("multiclass", seed, 3, 5, outputs=3)
    grids, classes = given.view(3, 5, 5, 3).numpy(), target.numpy()

    found = perceptual_score(given, target, plan, task="multiclass", score=score)
    assert found.tolist() == pytest.approx([slow.perceptual_score(grids, classes, m) for m in range(2)], abs=1e-6)
    gap = emap_gap(given, target, plan, task="multiclass", score=score)
    real = [grid[i, i] for grid in grids for i in range(5)]
    assert float(gap.emap_gap) == pytest.approx(  # five examples are too few to halve their donors
        slow.accuracy(real, classes.ravel().tolist()) - slow.emap_score(grids, classes), abs=1e-6
    )


@sizes
@tasks
def test_they_are_those_of_the_metrics(modalities: int, size: int, task: Task, outputs: int) -> None:
    plan, (score, metric) = design(modalities, size), scores(task, outputs)
    given, target = rows(plan, 4, outputs, seed=3), labels(task, 3, 4, size, outputs=outputs)
    target[0, 1] = -100  # no label
    both = [kind(NAMES[:modalities], task=task, score=metric, group_size=size) for kind in (PerceptualScore, EMAPGap)]
    for one in both:
        one.update(given[:3], target[:3])
        one.update(given[3:], target[3:])

    lost, gap = (one.compute() for one in both)
    assert torch.equal(torch.stack(list(lost.values())), perceptual_score(given, target, plan, task=task, score=score))
    expected = emap_gap(given, target, plan, task=task, score=score)
    assert [float(value) for value in gap.values()] == pytest.approx([float(value) for value in expected])


def test_an_additive_model_has_no_gap_and_what_it_ignores_costs_nothing() -> None:
    plan = design(2, 8)
    x, y = normal(4, 2, 3, 8)
    additive = (x[:, plan.tuples[:, 0]] + y[:, plan.tuples[:, 1]]).unsqueeze(-1)
    ignoring = x[:, plan.tuples[:, 0]].unsqueeze(-1)
    error = mean_squared_error

    assert float(emap_gap(additive, x + y, plan, task="regression", score=error).emap_gap) == pytest.approx(
        0, abs=1e-12
    )
    first, second = perceptual_score(ignoring, x, plan, task="regression", score=error).tolist()
    assert second == 0
    assert first == pytest.approx(-float(2 * x.var(1).mean()), rel=1e-6)  # of two independent draws
