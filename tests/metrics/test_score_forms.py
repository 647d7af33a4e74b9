"""Scores of the user's own get predictions and targets in the form that they take."""

from typing import Any

import pytest
import torch
from session.test_targets import COUNT, LateFusion, batch, integers, report, seeded
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryCohenKappa,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MultilabelF1Score,
)
from torchmetrics.clustering import AdjustedRandScore
from torchmetrics.functional.classification import multilabel_f1_score
from torchmetrics.functional.clustering import adjusted_rand_score
from torchmetrics.regression import MeanSquaredError

from mviz_lightning.functional import Task
from mviz_lightning.metrics.local import local_value
from mviz_lightning.metrics.score_forms import FittedScore, fitted

CLASSES = torch.tensor([0, 2, 1, 2])
RIGHT = torch.nn.functional.one_hot(CLASSES, 3).double()
SOFT = torch.tensor([[0.3, 0.9, 0.0], [0.0, 0.6, 1.0]]).double()


class Hits(Metric):
    """Takes class indices alone, as scores that are written for argmaxed predictions do."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("hits", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        if preds.is_floating_point() or target.is_floating_point():
            raise TypeError("whole numbers only")
        self.hits, self.count = self.hits + (preds == target).sum(), self.count + target.numel()

    def compute(self) -> Tensor:
        return self.hits / self.count


@pytest.mark.parametrize(
    ("score", "task", "answers", "target", "changed"),
    [
        (MulticlassAccuracy(3), "multiclass", RIGHT, CLASSES, False),
        (MulticlassAUROC(3), "multiclass", RIGHT, CLASSES, False),
        (Hits(), "multiclass", RIGHT, CLASSES, True),
        (Hits(), "binary", torch.tensor([[1.0], [0.0]]), torch.tensor([1, 0]), True),
        (Hits(), "multilabel", RIGHT, RIGHT.long(), True),
        (AdjustedRandScore(), "multiclass", RIGHT, CLASSES, True),
        (MulticlassF1Score(3), "multiclass", SOFT, SOFT, True),
        (MultilabelF1Score(3), "multilabel", SOFT, SOFT, True),
        (Hits(), "multilabel", SOFT, SOFT, True),
        (BinaryCohenKappa(), "binary", torch.tensor([[0.7], [0.2]]), torch.tensor([0.7, 0.2]), True),
        (MeanSquaredError(num_outputs=3), "multilabel", SOFT, SOFT, False),
        (MeanSquaredError(), "regression", torch.tensor([[1.5], [2.0]]), torch.tensor([1.5, 2.0]), False),
    ],
)
def test_a_score_gets_what_it_takes(score: Metric, task: Task, answers: Tensor, target: Tensor, changed: bool) -> None:
    found = fitted(score, task, answers, target)
    found.update(answers.squeeze(-1) if task in ("binary", "regression") else answers, target)

    assert isinstance(found, FittedScore) == changed
    assert torch.isfinite(torch.as_tensor(found.compute())).all()
    assert torch.equal(torch.as_tensor(local_value(found)).squeeze(), torch.as_tensor(found.compute()).squeeze())
    assert not score.update_called


def test_what_no_form_suits_keeps_its_own_error() -> None:
    found = fitted(BinaryAccuracy(), "multiclass", RIGHT, CLASSES.float() / 2)

    assert isinstance(found, BinaryAccuracy)


def test_a_copy_of_a_fitted_score_starts_anew() -> None:
    found = fitted(Hits(), "multiclass", RIGHT, CLASSES)
    found.update(RIGHT, CLASSES)
    twin = found.clone()
    found.reset()
    found.update(RIGHT, CLASSES.flip(0))

    assert float(twin.compute()) == 1
    assert float(found.compute()) == pytest.approx(0.0)


def predicted() -> Tensor:
    inputs = batch(torch.zeros(COUNT))
    with torch.no_grad():
        return seeded(lambda: LateFusion(outputs=3)).eval()(inputs["image"], inputs["text"])


@pytest.mark.parametrize("score", [Hits(), AdjustedRandScore()], ids=["own", "clustering"])
def test_a_score_of_class_indices_is_the_users(score: Any) -> None:
    classes = integers(3, COUNT, seed=4)
    values = report(classes, score=score, num_examples=COUNT).values
    said = predicted().argmax(1)

    expected = (said == classes).double().mean() if isinstance(score, Hits) else adjusted_rand_score(said, classes)
    assert values["score"] == pytest.approx(float(expected), abs=1e-6)


def test_a_score_of_hard_labels_gets_soft_ones_rounded() -> None:
    soft = torch.rand(COUNT, 3, generator=torch.Generator().manual_seed(3))
    values = report(soft, score=MultilabelF1Score(3), num_examples=COUNT).values

    expected = multilabel_f1_score(predicted(), (soft >= 0.5).long(), 3)
    assert values["score"] == pytest.approx(float(expected), abs=1e-6)


def test_a_collection_is_refused_as_before() -> None:
    with pytest.raises(ValueError, match="give a torchmetric"):
        report(integers(3, COUNT, seed=4), score=MetricCollection([MulticlassAccuracy(3)]))
