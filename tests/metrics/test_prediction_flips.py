"""How often a modality decides."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.draws import normal
from hypothesis import given
from hypothesis import strategies as st
from reference import alarm as slow
from reference.worlds import recombined, responses
from torch import Tensor

from mviz_lightning.functional import Task, design
from mviz_lightning.functional.outputs import decisions
from mviz_lightning.metrics import PredictionFlips

NAMES = ("image", "text", "audio")
TASKS: list[tuple[Task, int]] = [("multiclass", 4), ("binary", 1), ("multilabel", 3)]
seeds = st.integers(0, 10_000)
tasks = pytest.mark.parametrize(("task", "outputs"), TASKS)
sizes = pytest.mark.parametrize(("modalities", "size"), [(2, 5), (3, 12)])


def rows(modalities: int, size: int, groups: int, outputs: int, seed: int) -> Tensor:
    """``(G, T, C)`` outputs of a model in which the modalities count differently, and interact."""
    inputs = recombined(design(modalities, size), normal(seed, groups, size, modalities))
    inputs = inputs * torch.arange(1.0, modalities + 1)
    return torch.stack([(k * inputs).sin().sum(-1) + inputs.prod(-1) / 3 for k in range(1, outputs + 1)], -1) - 0.1


def flips(outputs: Tensor, task: Task, modalities: int, size: int) -> dict[str, float]:
    metric = PredictionFlips(NAMES[:modalities], task=task, group_size=size)
    metric.update(outputs)
    return {name: float(value) for name, value in metric.compute().items()}


def donors(modalities: int, size: int, modality: int) -> np.ndarray:
    """``(g, D)`` whom each example's modality is taken from, as the design's tuples say."""
    found: list[list[int]] = [[] for _ in range(size)]
    tuples = design(modalities, size).tuples.tolist()
    tuples = tuples if modalities == 2 else tuples[-modalities * 4 * size :]
    for row in tuples:
        rest = {number for place, number in enumerate(row) if place != modality}
        if len(rest) == 1 and row[modality] not in rest:
            found[rest.pop()].append(row[modality])
    return np.array(found)


@sizes
@tasks
@given(seeds)
def test_flips_are_those_of_the_loops(modalities: int, size: int, task: Task, outputs: int, seed: int) -> None:
    given = rows(modalities, size, 2, outputs, seed)
    found = flips(given, task, modalities, size)

    groups = [responses(design(modalities, size), group) for group in given]
    expected = {
        f"flips/{NAMES[m]}": slow.flips(groups, donors(modalities, size, m), m, task) for m in range(modalities)
    }
    assert found == pytest.approx(expected)


def test_those_of_every_example_are_taken_of_all_others() -> None:
    assert sorted(map(sorted, donors(2, 5, 1).tolist())) == sorted([j for j in range(5) if j != i] for i in range(5))
    assert donors(3, 12, 1).shape == (12, 4)


@sizes
@tasks
def test_what_is_ignored_never_decides_and_what_decides_alone_always_does(
    modalities: int, size: int, task: Task, outputs: int
) -> None:
    values = normal(1, 40, size, outputs)
    found = flips(values[:, design(modalities, size).tuples[:, 0]], task, modalities, size)

    assert found.pop("flips/image") == pytest.approx(1, abs=0.08)
    assert set(found.values()) == {0}


@pytest.mark.parametrize("size", [4, 8])
def test_in_a_full_grid_of_one_group_what_decides_alone_flips_exactly_all(size: int) -> None:
    values = normal(2, 1, size, 3)

    assert flips(values[:, design(2, size).tuples[:, 1]], "multiclass", 2, size)["flips/text"] == pytest.approx(1)


def test_an_exclusive_or_is_decided_by_both() -> None:
    bits = torch.randint(2, (60, 16, 2), generator=torch.Generator().manual_seed(0))
    outputs = (recombined(design(2, 16), bits).sum(-1, keepdim=True) % 2) - 0.5

    assert flips(outputs, "binary", 2, 16) == {
        name: pytest.approx(1, abs=0.03) for name in ("flips/image", "flips/text")
    }


@tasks
@pytest.mark.parametrize("groups", [1, 3])
def test_predictions_that_are_all_the_same_flip_nothing(task: Task, outputs: int, groups: int) -> None:
    constant = torch.linspace(-1, 1, outputs).expand(groups, 25, outputs)

    assert flips(constant, task, 2, 5) == {"flips/image": 0, "flips/text": 0}


def test_a_label_that_is_always_given_does_not_drown_the_others() -> None:
    outputs = rows(2, 6, 3, 1, seed=3)
    with_constant = torch.cat([outputs, torch.ones_like(outputs)], -1)

    assert flips(with_constant, "multilabel", 2, 6) == pytest.approx(flips(outputs, "multilabel", 2, 6))


@given(seeds, st.floats(0.1, 10))
def test_only_decisions_count(seed: int, scale: float) -> None:
    outputs = rows(2, 6, 3, 4, seed)
    offsets = normal(seed + 1, 3, 36, 1)

    assert flips(outputs * scale + offsets, "multiclass", 2, 6) == flips(outputs, "multiclass", 2, 6)


@given(seeds)
def test_one_logit_says_what_two_classes_say(seed: int) -> None:
    logit = rows(2, 6, 3, 1, seed)
    classes = torch.cat([torch.zeros_like(logit), logit], -1)

    assert flips(logit, "binary", 2, 6) == pytest.approx(flips(classes, "multiclass", 2, 6))


@tasks
@given(seeds, st.integers(1, 5))
def test_groups_may_be_added_in_any_pieces(task: Task, outputs: int, seed: int, piece: int) -> None:
    given = rows(2, 4, 5, outputs, seed)
    metric = PredictionFlips(NAMES[:2], task=task, group_size=4)
    for part in given.split(piece):
        metric.update(part)

    assert {name: float(value) for name, value in metric.compute().items()} == flips(given, task, 2, 4)


@sizes
@tasks
def test_the_sums_of_several_processes_are_those_of_one(modalities: int, size: int, task: Task, outputs: int) -> None:
    given = rows(modalities, size, 5, outputs, seed=4)
    processes = [PredictionFlips(NAMES[:modalities], task=task, group_size=size) for _ in range(3)]
    for process, part in zip(processes, (given[:2], given[2:], given[:0]), strict=True):
        process.update(part)
    merged = PredictionFlips(NAMES[:modalities], task=task, group_size=size)
    for state, reduce in merged._reductions.items():
        held = [getattr(process, state) for process in processes]
        assert all(one.shape == other.shape and one.dtype == other.dtype for one, other in pairwise(held))
        setattr(merged, state, reduce(torch.stack(held)))
    merged._update_count = 1

    found = {name: float(value) for name, value in merged.compute().items()}
    assert found == pytest.approx(flips(given, task, modalities, size))


def test_a_metric_that_joins_another_holds_the_groups_of_both() -> None:
    given = rows(2, 6, 4, 3, seed=5)
    one, other = (PredictionFlips(NAMES[:2], task="multiclass", group_size=6) for _ in range(2))
    one.update(given[:1])
    other.update(given[1:])
    one.merge_state(other)

    assert {name: float(value) for name, value in one.compute().items()} == flips(given, "multiclass", 2, 6)


@tasks
def test_no_group_at_all_flips_nothing(task: Task, outputs: int) -> None:
    assert flips(torch.zeros(0, 36, outputs), task, 2, 6) == {"flips/image": 0, "flips/text": 0}


def test_a_reset_forgets_all_groups() -> None:
    metric = PredictionFlips(NAMES[:2], task="multiclass", group_size=6)
    for seed in (6, 7):
        metric.reset()
        metric.update(rows(2, 6, 3, 3, seed))

    expected = flips(rows(2, 6, 3, 3, 7), "multiclass", 2, 6)
    assert {name: float(value) for name, value in metric.compute().items()} == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@tasks
def test_half_precision_decides_as_its_own_values_do(task: Task, outputs: int, dtype: torch.dtype) -> None:
    given = rows(2, 6, 30, outputs, seed=8).to(dtype)

    assert flips(given, task, 2, 6) == flips(given.double(), task, 2, 6)


def test_counts_are_exact_in_float64_however_many_there_are() -> None:
    metric = PredictionFlips(NAMES[:2], task="multiclass", group_size=6)
    metric.half()  # as a module under a trainer's precision
    metric.update(rows(2, 6, 300, 3, seed=9).half())

    assert all(getattr(metric, state).dtype == torch.float64 for state in ("changed", "swaps", "decided", "examples"))
    assert int(metric.swaps) == 300 * 6 * 5


def test_the_seed_and_the_pairs_of_the_design_are_those_of_the_shares() -> None:
    for pairs in (True, False):
        metric = PredictionFlips(NAMES, task="binary", group_size=12, pairs=pairs, seed=3)

        assert metric.design is design(3, 12, pairs=pairs, seed=3)


def test_a_regression_decides_nothing() -> None:
    with pytest.raises(ValueError, match="task='regression' has no decisions"):
        decisions(torch.zeros(3, 1), "regression")


@pytest.mark.parametrize(
    ("task", "logits", "expected"),
    [
        ("multiclass", [[0.1, 3.0, -1.0], [-1.0, -2.0, -3.0]], [[0, 1, 0], [1, 0, 0]]),
        ("binary", [[0.1], [-0.1], [0.0]], [[1], [0], [0]]),
        ("multilabel", [[2.0, -2.0], [0.0, 5.0]], [[1, 0], [0, 1]]),
    ],
)
def test_decisions_are_the_largest_class_or_all_positive_labels(
    task: Task, logits: list[list[float]], expected: list[list[int]]
) -> None:
    found = decisions(torch.tensor(logits, dtype=torch.float16), task)

    assert found.dtype == torch.float64
    assert found.tolist() == expected
