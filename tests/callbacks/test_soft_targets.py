"""The alarm on a model of visual question answering, whose targets are shares of people who agree."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.collapsing import states, unheard
from helpers.few import few
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import MultimodalMonitor, UnimodalCollapse

ANSWERS = 20
"""Four of each of four questions, and one second answer of every question."""


class Answering(LightningModule):
    """Answers questions on pictures; a blind model gets a picture of zeros."""

    def __init__(self, *, blind: bool, soft: bool) -> None:
        super().__init__()
        self.blind, self.soft = blind, soft
        self.net = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, ANSWERS))

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        return self.net(torch.cat([image * (0.0 if self.blind else 1.0), question], 1))

    def training_step(self, batch: Any, _: int) -> Tensor:
        scores, target = self(*batch[:2]), batch[2]
        if self.soft:  # soft labels of cross_entropy: rows sum to anything
            return -(target * scores.log_softmax(1)).sum(1).mean()
        return ANSWERS * nn.functional.binary_cross_entropy_with_logits(scores, target)

    def validation_step(self, batch: Any, _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


def questions(count: int, seed: int) -> TensorDataset:
    """Return pictures, questions, and what ten people said: ``min(1, 0.3 n)`` of the n who gave an answer."""
    generator = torch.Generator().manual_seed(seed)
    image, kind = torch.randn(count, 2, generator=generator), torch.randint(4, (count,), generator=generator)
    seen = (image[:, 0] > 0).long() + 2 * (image[:, 1] > 0).long()
    agreed = torch.randint(2, 6, (count,), generator=generator)
    target, rows = torch.zeros(count, ANSWERS), torch.arange(count)
    target[rows, 4 * (kind // 2) + seen] = (0.3 * agreed).clamp(max=1)  # two questions have the same answers
    target[rows, 16 + kind] = torch.where(agreed < 4, 0.3, 0.0)
    return TensorDataset(image, nn.functional.one_hot(kind, 4).float(), target)


@pytest.mark.filterwarnings("ignore:swapping:mviz_lightning.errors.MonitorWarning")
@pytest.mark.parametrize(("task", "soft"), few([(None, False), ("multiclass", True)]), ids=["bce", "cross_entropy"])
@pytest.mark.parametrize("blind", [True, False], ids=["blind", "seeing"])
def test_the_alarm_fires_for_a_model_that_ignores_its_pictures(
    tmp_path: Path, blind: bool, task: Any, soft: bool
) -> None:
    torch.manual_seed(0)
    watch = MultimodalMonitor(
        modalities={"image": "0", "text": "1"}, target="2", task=task, num_examples=64, group_size=16, reference=256
    )
    chosen = trainer(tmp_path, watch, UnimodalCollapse(), max_epochs=5)
    loaders = [DataLoader(questions(count, seed), batch_size=32) for seed, count in ((0, 800), (1, 256))]
    with unheard():
        chosen.fit(Answering(blind=blind, soft=soft), *loaders)

    last = watch.history[-1].values
    assert states(watch)[-1] == 0  # the question is used
    assert states(watch, "image")[-1] == (2 if blind else 0)
    assert last["flips/image"] == 0 if blind else last["flips/image"] > 0.1
    assert last["score"] > 0.2 if blind else last["score"] > 0.5
