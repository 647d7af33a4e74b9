"""The monitor's outputs are compared with the user's own at every validation, and nothing of that stays."""

import copy
from typing import Any

import pytest
import torch
import torchmetrics
from helpers.toy import MODALITIES, SMALL, Toy, examples, loader, trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor, explain
from mviz_lightning.errors import MonitorWarning

COST = ("seconds", "rows", "overhead")


def watch(**settings: Any) -> MultimodalMonitor:
    """Return a monitor that is told nothing but the modalities."""
    return MultimodalMonitor(MODALITIES, **SMALL | settings)


def trained(folder: Any, module: LightningModule, *callbacks: Any, **settings: Any) -> LightningModule:
    torch.manual_seed(0)
    trainer(folder, *callbacks, **{"max_epochs": 3} | settings).fit(module, loader(shuffle=True), loader(seed=1))
    return module


def shares(values: dict[str, float]) -> dict[str, float]:
    """Return what was measured, without its cost and without what observing adds."""
    added = (*COST, "agreement")
    return {key: value for key, value in values.items() if key not in added}


class Scheduled(Toy):
    """Multiplies the text by a number that a schedule changes."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = 1.0

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        return super().forward(image, text * self.alpha)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.scores(image, text)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(*batch[:2]), batch[2])

    def on_train_epoch_end(self) -> None:
        self.alpha = 1.0 + self.current_epoch


class Constant(Scheduled):
    """Passes the number to forward."""

    def forward(self, image: Tensor, text: Tensor, alpha: float) -> Tensor:
        return Toy.forward(self, image, text * alpha)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(*batch[:2], self.alpha), batch[2])


class Frozen(Constant):
    """Passes a number to forward that no attribute holds."""

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(*batch[:2], 1.0 + 0.5 * self.current_epoch), batch[2])

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        return Toy.forward(self, image, text * (1.0 + 0.5 * self.current_epoch))


class Reassigned(Constant):
    """Passes a tensor that is another one after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = torch.tensor([1.0, 1.0, 1.0])

    def on_train_epoch_end(self) -> None:
        self.alpha = self.alpha.clone() * torch.tensor([2.0, 0.5, 1.0])


class Switched(Toy):
    """Calls another net after the first epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Toy(), Toy()

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        net = self.first if self.current_epoch == 0 else self.second
        return net(image, text)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.scores(*batch[:2]), batch[2])


FOLLOWED = {kind.__name__: kind for kind in (Scheduled, Constant, Frozen, Reassigned, Switched)}


@pytest.mark.parametrize("kind", FOLLOWED.values(), ids=FOLLOWED)
def test_a_step_that_a_schedule_changes_is_followed(tmp_path, kind):
    told = watch(target="2", task="multiclass", predict=lambda module, batch: module.scores(*batch[:2]), name="told", reuse=False)
    observing = watch(on_error="raise")
    trained(tmp_path, kind(), observing, told)

    assert len(observing.history) == 3
    for found, expected in zip(observing.history, told.history, strict=True):
        assert shares(found.values) == pytest.approx(shares(expected.values), abs=1e-5)
        assert found.values["agreement"] == 1.0
    noted = ["in another way than before" in row.note for row in observing.history]
    assert noted[1] is (kind in (Frozen, Switched))
