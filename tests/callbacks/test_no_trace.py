"""Training with everything attached ends with the same bits as training without."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from helpers.toy import trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import Modality, MultimodalMonitor
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)


class Augmenting(Dataset[dict[str, Tensor]]):
    """Adds noise from all three global random states."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.image, self.text = (torch.randn(48, 4, generator=generator) for _ in range(2))

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        noise = torch.randn(4) * 0.1 + np.random.normal() * 0.1 + random.random() * 0.1
        label = (self.image[index].sum() + self.text[index].sum() > 0).long()
        return {"image": self.image[index] + noise, "text": self.text[index], "label": label}


class Delicate(LightningModule):
    """Everything that a careless evaluation disturbs."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.text = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.text[1].requires_grad_(False)
        self.head = nn.Linear(8, 2)
        self.register_buffer("forwards", torch.zeros(()))
        self.calls = 0
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(2)
        self.curve: list[float] = []

    def train(self, mode: bool = True) -> "Delicate":
        super().train(mode)
        self.text[1].eval()  # a frozen BatchNorm
        return self

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        self.forwards += 1
        self.calls += 1
        return self.head(self.image(image) + self.text(text)) * (1 + 1e-6 * self.forwards)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"], batch["text"]), batch["label"])

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        return self.loss(batch) * (1 + 1e-3 * torch.rand(())) + 1e-4 * self.calls

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        outputs = self(batch["image"], batch["text"])
        self.accuracy(outputs, batch["label"])
        loss = nn.functional.cross_entropy(outputs, batch["label"])
        self.log("val_loss", loss, batch_size=len(outputs))
        self.log("val_accuracy", self.accuracy, batch_size=len(outputs))
        self.curve.append(float(loss))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def train(folder: Path, *callbacks: Any, workers: int = 0, **settings: Any) -> dict[str, Any]:
    """Train and return all that must not depend on who watches."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    module = Delicate()
    options = {"batch_size": 8, "num_workers": workers, "persistent_workers": workers > 0}
    shuffling = torch.Generator().manual_seed(1)
    loaders = (
        DataLoader(Augmenting(0), shuffle=True, generator=shuffling, **options),
        DataLoader(Augmenting(1), generator=torch.Generator().manual_seed(2), **options),
    )
    chosen = trainer(folder, *callbacks, max_epochs=3, accumulate_grad_batches=3, val_check_interval=2, **settings)
    chosen.fit(module, *loaders)
    return {
        "weights": copy.deepcopy(module.state_dict()),
        "optimizer": copy.deepcopy(chosen.optimizers[0].state_dict()),
        "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        "generators": [loader.generator.get_state() for loader in loaders],
        "gradients": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "modes": [m.training for m in module.modules()],
        "learnable": [p.requires_grad for p in module.parameters()],
        "calls": module.calls,
        "validation": module.curve,
        "logged": {k: v for k, v in chosen.callback_metrics.items() if not k.startswith("mviz/")},
    }


def same(left: Any, right: Any) -> bool:
    """Compare nested values bit for bit."""
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


STAGES = [
    UnimodalImportance(num_examples=1, num_totals=2),
    CrossModalInteraction(num_examples=1, method="second_order"),
    MultimodalRepresentation(),
    MultimodalPrediction(num_examples=1),
    ErrorAnalysis(num_examples=1),
]


def everything(**settings: Any) -> MultimodalMonitor:
    return MultimodalMonitor(
        {"image": Modality("image", baseline="zero"), "text": "text"},
        target="label",
        num_examples=32,
        group_size=8,
        pictures_every_n_validations=4,
        explainers=[DIME(num_examples=1, every_n_validations=5), *STAGES],
        **settings,
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_training_with_everything_attached_is_bit_identical(tmp_path, workers):
    alone = train(tmp_path, workers=workers)
    watch = everything()
    watched = train(tmp_path, watch, workers=workers, logger=TensorBoardLogger(tmp_path))
    assert len(watch.history) == 9
    assert all(row.values for row in watch.history)
    # At the first validation, at the sixth, which finds gradients of two batches, and when the training has ended.
    assert [len(entry.explanations) for entry in watch.explanation_history.entries] == [1, 1, 1]
    assert watch.explanation_history.entries[1].step == watch.history[5].step
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)


class Careless(Callback):
    """Does one thing that a hand-written monitor might do."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.act(module, batch)


CARELESS = {
    "draws a random number": lambda module, batch: torch.rand(1),
    "shuffles with NumPy": lambda module, batch: np.random.permutation(4),
    "calls the model": lambda module, batch: module(batch["image"], batch["text"]),
    "takes a gradient": lambda module, batch: _backward(module, batch),
    "leaves training mode on": lambda module, batch: module.text[1].train(),
}


def _backward(module, batch):
    with torch.enable_grad():
        module(batch["image"], batch["text"]).sum().backward()


@pytest.mark.parametrize("act", CARELESS.values(), ids=CARELESS.keys())
def test_the_comparison_sees_careless_monitors(tmp_path, act):
    assert not same(train(tmp_path), train(tmp_path, Careless(act)))


def test_a_failing_monitor_leaves_no_trace_either(tmp_path):
    def broken(module: Delicate, batch: Any) -> Tensor:
        torch.rand(3), np.random.rand()
        module.calls += 5
        outputs = module(batch["image"], batch["text"])
        if len(outputs) > 16:
            raise RuntimeError("no such luck")
        return outputs

    alone = train(tmp_path)
    watch = MultimodalMonitor(
        {"image": "image", "text": "text"}, target="label", num_examples=32, group_size=8, predict=broken
    )
    with pytest.warns(UserWarning, match="a run failed.*no such luck"):
        watched = train(tmp_path, watch)
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)


class AtTheEnd(Callback):
    """Does one thing when the training ends."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_train_end(self, trainer, module):
        self.act(module, {"image": torch.ones(4, 4), "text": torch.ones(4, 4), "label": torch.zeros(4).long()})


@pytest.mark.parametrize("name", [name for name in CARELESS if "mode" not in name])  # Lightning sets it once more
def test_the_comparison_sees_what_careless_monitors_do_at_the_end(tmp_path, name):
    assert not same(train(tmp_path), train(tmp_path, AtTheEnd(CARELESS[name])))


@pytest.mark.slow
def test_explanations_that_fail_leave_no_trace_either(tmp_path):
    def broken(module: Delicate, batch: Any) -> Tensor:
        torch.rand(3), np.random.rand()
        module.calls += 5
        if module.trainer.global_step and bool((batch["image"] == 0).any()):
            raise RuntimeError("no such luck")
        return module(batch["image"], batch["text"])

    alone = train(tmp_path)
    with pytest.warns(UserWarning, match="failed: RuntimeError: no such luck"):
        watched = train(tmp_path, everything(predict=broken))
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)
