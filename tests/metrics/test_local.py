"""A metric that shall not gather from other processes does not."""

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAccuracy

from mviz_lightning.collapse.score_reference import anchors
from mviz_lightning.metrics import PerceptualScore
from mviz_lightning.metrics.local import local_value


class Gathering(BinaryAccuracy):
    """An accuracy that believes it is one of two processes, and counts how often it gathers."""

    gathered = 0

    def __init__(self) -> None:
        super().__init__(distributed_available_fn=lambda: True, dist_sync_fn=self.gather)

    @classmethod
    def gather(cls, value: Tensor, group: object = None) -> list[Tensor]:
        cls.gathered += 1
        return [value, value]


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Metric:
    monkeypatch.setattr(Gathering, "gathered", 0)
    return Gathering()


def test_the_switch_that_is_set_later_changes_nothing(score: Metric) -> None:
    score.sync_on_compute = False
    score.update(torch.tensor([0.9, 0.1]), torch.tensor([1, 1]))
    assert score.compute() == 0.5
    assert Gathering.gathered > 0


def test_the_local_value_is_that_of_this_process(score: Metric) -> None:
    score.update(torch.tensor([0.9, 0.1]), torch.tensor([1, 1]))
    assert local_value(score) == 0.5
    assert Gathering.gathered == 0


def test_chance_and_perfection_are_found_on_this_process(score: Metric) -> None:
    found = anchors(score, "binary", torch.tensor([1, 1, 1, 0]), 1)
    assert (found.chance, found.perfect) == (0.75, 1.0)
    assert Gathering.gathered == 0


@pytest.mark.parametrize("sync", [True, False])
def test_scores_gather_when_they_are_told_to(score: Metric, *, sync: bool) -> None:
    metric = PerceptualScore(["a", "b"], task="binary", score=score, group_size=4, sync_on_compute=sync)
    outputs = torch.randn(2, len(metric._design.tuples), 1, generator=torch.Generator().manual_seed(0))
    metric.update(outputs, torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]]))
    metric.compute()
    assert (Gathering.gathered > 0) is sync
