"""One-hot, graded and missing labels: what is read out of them, and that all of the package reads them alike."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, floats, integers, seeded
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import explain
from mviz_lightning.batch.strata import stratum_order
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.functional.targets import decided, graded, labelled, one_each
from mviz_lightning.metrics import EMAPGap, GradedAccuracy, default_score
from mviz_lightning.session.explain import ShareReport
from mviz_lightning.session.task import resolve_task

COUNT = 96
ONE_HOT = functional.one_hot(torch.tensor([2, 0, 1, 0]), 3)
GRADED = torch.tensor([[0.3, 1.0, 0.0], [0.0, 0.6, 0.9], [0.0, 0.0, 0.3]])
STAGES = [
    DIME(num_examples=3),
    UnimodalImportance(num_examples=3, num_totals=2),
    CrossModalInteraction(num_examples=2),
    MultimodalRepresentation(features_shown=2),
    MultimodalPrediction(num_examples=3),
    ErrorAnalysis(num_examples=3),
]


def batch(target: Tensor) -> dict[str, Tensor]:
    return {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2), "labels": target}


def report(target: Tensor, *, module: nn.Module | None = None, **options: Any) -> ShareReport:
    settings: dict[str, Any] = {"modalities": ["image", "text"], "target": "labels", "num_examples": 64} | options
    return explain(module or seeded(lambda: LateFusion(outputs=3)), [batch(target)], **settings)


# -- The task ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (ONE_HOT, "multiclass"),
        (ONE_HOT.double(), "multiclass"),
        (ONE_HOT.bool(), "multiclass"),
        (GRADED, "multilabel"),
        (GRADED * 2, "regression"),
        (torch.cat([ONE_HOT, torch.full((2, 3), -100)]), "multiclass"),
        (torch.cat([GRADED, torch.full((2, 3), -100.0)]), "multilabel"),
        (torch.tensor([0, -100, 2]), "multiclass"),
    ],
)
def test_targets_of_the_outputs_shape_tell_classes_labels_and_values(target: Tensor, task: str) -> None:
    assert resolve_task(None, 3, target) == task


def test_one_output_with_missing_labels_stays_binary() -> None:
    assert resolve_task(None, 1, torch.tensor([0, 1, -100, 1])) == "binary"


def test_distributions_are_classes() -> None:
    smoothed = 0.9 * ONE_HOT + 0.1 / 3

    assert resolve_task(None, 3, smoothed) == "multiclass"
    assert decided(smoothed, "multiclass").tolist() == [2, 0, 1, 0]
    assert resolve_task("multiclass", 3, GRADED) == "multiclass"  # soft labels of cross_entropy may sum to anything


@pytest.mark.parametrize(
    ("task", "target", "words"),
    [
        ("multiclass", ONE_HOT, "one-hot targets"),
        ("multilabel", GRADED, "targets between 0 and 1"),
        (
            "multiclass",
            torch.tensor([0, -100, 2]),
            "class indices (32 of 96 examples lack a label and are left out of the scores)",
        ),
    ],
)
def test_the_guess_is_said_with_its_reason(task: str, target: Tensor, words: str, caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        report(target[torch.arange(COUNT) % len(target)], num_examples=COUNT)

    said = [record.message for record in caplog.records if "is guessed" in record.message]
    assert said == [
        f"MultimodalMonitor: task='{task}' is guessed from 3 outputs and {words}; if that is wrong, pass task="
    ]


def test_a_task_that_was_given_is_not_said(caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        report(ONE_HOT[torch.arange(COUNT) % 4], task="multiclass")

    assert "is guessed" not in caplog.text


# -- What is read ------------------------------------------------------------------------------------------------------


def test_who_is_labelled() -> None:
    assert labelled(torch.tensor([0, -100, 3])).tolist() == [True, False, True]
    assert labelled(torch.tensor([[0.0, 1], [-100, 1], [float("nan"), 0]])).tolist() == [True, False, False]
    values = torch.tensor([-100.0, float("nan"), 1])
    assert labelled(values, "regression").tolist() == [True, False, True]


def test_labels_are_decided() -> None:
    missing = torch.tensor([[-100.0] * 3])

    assert decided(torch.cat([ONE_HOT, missing.long()]), "multiclass").tolist() == [2, 0, 1, 0, -100]
    assert decided(torch.cat([GRADED, missing]), "multilabel").tolist() == [
        [0, 1, 0], [0, 1, 1], [0, 0, 0], [-100] * 3,
    ]  # fmt: skip
    assert decided(torch.tensor([[0.9], [0.2], [-100.0]]), "binary").tolist() == [1, 0, -100]
    assert decided(torch.tensor([[-100.0], [2.5]]), "regression").tolist() == [-100.0, 2.5]


def test_one_hot_and_graded_rows_are_told_from_others() -> None:
    assert one_each(ONE_HOT)
    assert not one_each(torch.cat([ONE_HOT, torch.zeros(1, 3, dtype=torch.long)]))
    assert not one_each(torch.ones(4, 1))
    assert graded(GRADED)
    assert not graded(torch.cat([ONE_HOT.double(), torch.full((1, 3), -100.0)]))


def test_strata_of_one_hot_targets_are_those_of_their_classes() -> None:
    classes = integers(3, 90, seed=4)
    classes[:5] = -100
    rows = functional.one_hot(classes.clamp(min=0), 3).masked_fill((classes == -100).unsqueeze(1), -100)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]

    orders = [stratum_order(target, 90, own) for target, own in zip((classes, rows), generators, strict=True)]
    assert torch.equal(*orders)


def test_graded_accuracy_is_what_the_target_says_of_the_strongest_label() -> None:
    metric = GradedAccuracy()
    metric.update(torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.2, 0.8], [0.3, 0.2, 0.1]]), GRADED)

    assert float(metric.compute()) == pytest.approx((0.3 + 0.9 + 0.0) / 3)


def test_a_score_leaves_out_what_has_no_label() -> None:
    outputs = floats(2, 16, 3, seed=5)  # two groups of four
    target = outputs.view(2, 4, 4, 3).diagonal(dim1=1, dim2=2).argmax(1)
    metric = EMAPGap(["a", "b"], task="multiclass", group_size=4, score=default_score("multiclass", 3))
    target[0, 1] = -100
    metric.update(outputs, target)

    assert float(metric.compute()["score"]) == 1.0


# -- All of it ---------------------------------------------------------------------------------------------------------


def targets(found: ShareReport) -> Mapping[str, list[Any]]:
    """Return what every stage took for the labels of its examples."""
    return {
        "dime": [one.target for one in found.explanations["dime"]],
        "importance": [one.target for one in found.results["importance"].examples],  # type: ignore[attr-defined]
        "cross_modal": [one.target for one in found.results["cross_modal"].examples],  # type: ignore[attr-defined]
        "prediction": [one.target for one in found.results["prediction"].examples],  # type: ignore[attr-defined]
        "errors": [one.target for one in found.results["errors"].worst],  # type: ignore[attr-defined]
    }


def without_costs(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name != "seconds"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.long, torch.float32])
def test_one_hot_targets_give_what_class_indices_give(dtype: torch.dtype) -> None:
    classes = integers(3, COUNT, seed=4)
    expected, found = (
        report(classes, explainers=STAGES),
        report(functional.one_hot(classes, 3).to(dtype), explainers=STAGES),
    )

    assert without_costs(found.values) == without_costs(expected.values)
    assert targets(found) == targets(expected)
    for name, result in expected.results.items():
        assert found.results[name].values == result.values


@pytest.mark.slow
def test_unlabelled_examples_leave_the_scores_and_stay_in_the_shares() -> None:
    classes = integers(3, COUNT, seed=4)
    half = classes.clone()
    half[::2] = -100
    whole, found = report(classes, num_examples=COUNT), report(half, num_examples=COUNT, explainers=STAGES)
    module, inputs = seeded(lambda: LateFusion(outputs=3)), batch(classes)
    said = module.eval()(inputs["image"], inputs["text"]).argmax(1)

    known = (said == classes)[1::2].double().mean()
    assert found.values["score"] == pytest.approx(float(known))
    assert whole.values["score"] == pytest.approx(float((said == classes).double().mean()))
    assert found.values["total/image"] == pytest.approx(whole.values["total/image"], abs=0.2)
    assert sum(found.results["errors"].counts.values()) == COUNT / 2  # type: ignore[attr-defined]
    assert -100 not in [label for labels in targets(found).values() for label in labels]


def test_without_any_label_there_are_no_scores() -> None:
    values = report(torch.full((COUNT,), -100)).values

    assert "score" not in values
    assert values["total/image"] > 0


def test_graded_labels_are_scored_by_their_grade_and_explained_as_labels() -> None:
    grades = torch.rand(COUNT, 3, generator=torch.Generator().manual_seed(3)) * integers(2, COUNT, 3, seed=9)
    found = report(grades, num_examples=COUNT, explainers=STAGES)
    inputs = batch(grades)
    said = seeded(lambda: LateFusion(outputs=3)).eval()(inputs["image"], inputs["text"]).argmax(1, keepdim=True)

    assert found.values["score"] == pytest.approx(float(grades.gather(1, said).mean()))
    for one in found.explanations["dime"]:
        assert one.target == (grades[one.position] >= 0.5).nonzero().flatten().tolist()


def test_missing_values_of_a_regression_are_left_out_and_minus_one_hundred_is_a_value() -> None:
    values = 100 * floats(COUNT, seed=4)
    values[0], values[1:9] = -100.0, float("nan")
    found = report(values, module=seeded(lambda: LateFusion(outputs=1)), num_examples=COUNT, explainers=STAGES[-1:])

    assert sum(found.results["errors"].counts.values()) == COUNT - 8  # type: ignore[attr-defined]
    assert found.values["score"] < 1
