"""The skill on all fixed examples and its standard error: formulas, and the spread over many draws."""

import math

import numpy as np
import pytest
import torch
from helpers.draws import normal
from torch import Tensor
from torchmetrics import Metric, R2Score
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, MulticlassAccuracy

from mviz_lightning.collapse.skill import PARTS, Skill, measured_skill, standard_error
from mviz_lightning.functional import Task
from mviz_lightning.functional.scores import label_ranking_average_precision
from mviz_lightning.metrics import LabelRankingAveragePrecision, default_score


def test_of_a_share_of_right_answers_the_error_is_binomial() -> None:
    target = torch.arange(400) % 100
    predicted = torch.eye(100)[target.where(torch.arange(400) < 12, (target + 1) % 100)]
    found = measured_skill(default_score("multiclass", 100), "multiclass", predicted, target, 100)

    assert found is not None
    assert found.value == pytest.approx((0.03 - 0.01) / 0.99)
    assert found.error == pytest.approx(math.sqrt(0.03 * 0.97 / 400) / 0.99)


def test_of_labels_the_error_is_that_of_the_examples_mean() -> None:
    target = (normal(0, 200, 6) > 0.8).long()
    predicted = (target + 2 * normal(1, 200, 6)).sigmoid()
    each = label_ranking_average_precision(predicted, target)

    error = standard_error(LabelRankingAveragePrecision(), float(each.mean()), predicted, target, "multilabel")
    assert error == pytest.approx(float(each.std() / 200**0.5))


def test_of_all_others_it_is_the_jackknife_over_parts() -> None:
    target, predicted = normal(0, 160), normal(0, 160) + normal(1, 160)
    parts = (torch.randperm(160, generator=torch.Generator().manual_seed(0)) % PARTS).numpy()

    def r2(kept: np.ndarray) -> float:
        y, f = target.numpy()[kept], predicted.numpy()[kept]
        return float(1 - ((y - f) ** 2).sum() / ((y - y.mean()) ** 2).sum())

    left_out = np.array([r2(parts != part) for part in range(PARTS)])
    expected = math.sqrt((PARTS - 1) / PARTS * ((left_out - left_out.mean()) ** 2).sum())
    found = standard_error(R2Score(), 0.0, predicted.double(), target.double(), "regression")
    assert found == pytest.approx(expected, rel=1e-6)


def drawn(task: Task, seed: int) -> tuple[Tensor, Tensor]:
    latent, noise = normal(seed, 256), normal(1000 + seed, 256)
    return latent + 2 * noise, (latent > 0).long() if task == "binary" else latent


@pytest.mark.long
@pytest.mark.parametrize(
    ("score", "task"),
    [
        (BinaryAccuracy(), "binary"),
        (BinaryAUROC(), "binary"),
        (R2Score(), "regression"),
    ],
)
def test_the_error_is_the_spread_over_draws(score: Metric, task: Task) -> None:
    found = []
    for seed in range(60):
        predicted, target = drawn(task, seed)
        predicted = predicted.sigmoid() if task == "binary" else 0.2 * predicted
        found.append(measured_skill(score, task, predicted, target, 1))

    spread = np.std([one.value for one in found if one], ddof=1)
    errors = np.mean([one.error for one in found if one])
    assert errors == pytest.approx(
        spread, rel=0.35
    )  # of 60 draws the spread is known to 9 %, three times that and more


@pytest.mark.parametrize("score", [MulticlassAccuracy(3, average="macro"), BinaryAUROC()])
def test_where_a_score_has_no_scale_there_is_no_skill(score: Metric) -> None:
    task: Task = "binary" if isinstance(score, BinaryAUROC) else "multiclass"
    outputs = 1 if task == "binary" else 3
    target = torch.zeros(64, dtype=torch.long)
    predicted = torch.full((64,), 0.5) if outputs == 1 else torch.eye(3)[target]

    assert measured_skill(score, task, predicted, target, outputs) is None


class Whole(Metric):
    """Refuses parts of the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("error", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        if len(target) < 64:
            raise ValueError("all, please")
        self.error = self.error + (predicted - target).square().mean()

    def compute(self) -> Tensor:
        return self.error


def test_an_error_that_is_unknown_is_infinite_and_no_evidence() -> None:
    target = normal(0, 64)
    found = measured_skill(Whole(), "regression", target + 0.1, target, 1)

    assert found is not None
    assert math.isinf(found.error)
    assert found.evidence == {"skill": found.value}
    assert Skill(0.5, 0.1).evidence == {"skill": 0.5, "skill_error": 0.1}


def test_positions_of_one_example_are_one_piece_of_evidence() -> None:
    """All 25 positions of an example are right or wrong together: the error is that of 64 examples."""
    right = (torch.rand(64, generator=torch.Generator().manual_seed(0)) < 0.6).long()
    target = torch.zeros(64 * 25, dtype=torch.long)
    examples = torch.arange(64).repeat_interleave(25)
    predicted = torch.nn.functional.one_hot(1 - right[examples], 2).double()
    score, value = MulticlassAccuracy(2, average="micro"), float(right.double().mean())
    given = score, value, predicted, target, "multiclass"
    assert standard_error(*given, examples) == pytest.approx((value * (1 - value) / 64) ** 0.5, rel=0.25)
    assert standard_error(*given) < standard_error(*given, examples) / 4
