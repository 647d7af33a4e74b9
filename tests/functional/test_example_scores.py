"""Scores that have a value for each example, against scikit-learn, loops and torchmetrics."""

import pytest
import torch
from helpers.draws import normal
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor
from torchmetrics.classification import MultilabelRankingAveragePrecision

from mviz_lightning.functional import graded_accuracy, label_ranking_average_precision
from mviz_lightning.functional import scores as module
from mviz_lightning.metrics import GradedAccuracy, LabelRankingAveragePrecision

seeds = st.integers(0, 10_000)


def drawn(seed: int, count: int, outputs: int, *, levels: int = 0) -> tuple[Tensor, Tensor]:
    """Return predictions, of which some are equal where there are few levels, and labels, some rows without any."""
    generator = torch.Generator().manual_seed(seed)
    predicted = normal(seed, count, outputs)
    predicted = torch.randint(levels, (count, outputs), generator=generator).double() if levels else predicted
    target = torch.randint(2, (count, outputs), generator=generator)
    target[0] = 0
    target[1] = 1
    return predicted, target


@pytest.mark.parametrize("few", [0, 100], ids=["sorted", "compared"])
@pytest.mark.parametrize("levels", [0, 3], ids=["distinct", "ties"])
@given(seeds)
def test_label_ranking_average_precision_is_that_of_scikit_learn(few: int, levels: int, seed: int) -> None:
    predicted, target = drawn(seed, 6, 5, levels=levels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW", few)
        found = label_ranking_average_precision(predicted, target)

    for row, value in enumerate(found.tolist()):
        expected = label_ranking_average_precision_score(target[[row]].numpy(), predicted[[row]].numpy())
        assert value == pytest.approx(expected, abs=1e-12)


def test_many_labels_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, target = drawn(3, 40, 30)
    whole = label_ranking_average_precision(predicted, target)
    monkeypatch.setattr(module, "COMPARED", 31)

    assert torch.equal(label_ranking_average_precision(predicted, target), whole)


def test_no_examples_have_no_values() -> None:
    assert label_ranking_average_precision(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


@given(seeds)
def test_the_metric_is_that_of_torchmetrics(seed: int) -> None:
    predicted, target = drawn(seed, 7, 4)
    own, theirs = LabelRankingAveragePrecision(), MultilabelRankingAveragePrecision(4)
    for rows in (slice(0, 3), slice(3, 7)):
        own.update(predicted[rows].sigmoid(), target[rows])
        theirs.update(predicted[rows].sigmoid(), target[rows])

    assert float(own.compute()) == pytest.approx(float(theirs.compute()), abs=1e-6)


def vqa_accuracy(predicted: Tensor, target: Tensor) -> float:
    """Return the accuracy of VQA answer by answer."""
    total = 0.0
    for scores, answers in zip(predicted.tolist(), target.tolist(), strict=True):
        best = 0
        for answer, score in enumerate(scores):
            best = answer if score > scores[best] else best
        total += answers[best]
    return total / len(target)


@given(seeds)
def test_graded_accuracy_is_that_of_the_loop(seed: int) -> None:
    predicted = normal(seed, 9, 6)
    agreed = torch.randint(11, (9, 6), generator=torch.Generator().manual_seed(seed))
    target = (0.3 * agreed).clamp(max=1)  # min(1, 0.3 n) of ten people
    metric = GradedAccuracy()
    for rows in (slice(0, 4), slice(4, 9)):
        metric.update(predicted[rows], target[rows])

    expected = vqa_accuracy(predicted, target)
    assert float(metric.compute()) == pytest.approx(expected)
    assert float(graded_accuracy(predicted, target).mean()) == pytest.approx(expected)


def test_a_single_soft_label_has_two_sides() -> None:
    found = graded_accuracy(torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.75, 0.25, 1.0]))

    assert found.tolist() == [0.75, 0.75, 0.0]
