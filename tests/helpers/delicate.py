"""A training that any careless evaluation disturbs, and all that it leaves behind."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchmetrics
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Augmenting(Dataset[dict[str, Tensor]]):
    """Adds noise from all three global random states."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.image, self.text = self.drawn(generator)

    def drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return both modalities of 48 examples."""
        return torch.randn(48, 4, generator=generator), torch.randn(48, 4, generator=generator)

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        noise = torch.randn(self.image.shape[1:]) * 0.1 + np.random.normal() * 0.1 + random.random() * 0.1
        label = (self.image[index].sum() + self.text[index].sum() > 0).long()
        return {"image": self.image[index] + noise, "text": self.text[index], "label": label}


class Delicate(LightningModule):
    """Everything that a careless evaluation disturbs."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = self.encoders()
        self.text[1].requires_grad_(False)
        self.head = nn.Linear(8, 2)
        self.register_buffer("forwards", torch.zeros(()))
        self.calls = 0
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(2)
        self.curve: list[float] = []

    def encoders(self) -> tuple[nn.Module, nn.Sequential]:
        """Return the encoders of both modalities; the second part of that of the text is frozen."""
        return (
            nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)),
            nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh()),
        )

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


def train(
    folder: Path,
    *callbacks: Any,
    workers: int = 0,
    make: Callable[[], Delicate] = Delicate,
    data: Callable[[int], Dataset[Any]] = Augmenting,
    gradients: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Train and return all that must not depend on who watches; the last gradients too unless they are overwritten."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    module = make()
    options = {"batch_size": 8, "num_workers": workers, "persistent_workers": workers > 0}
    shuffling = torch.Generator().manual_seed(1)
    loaders = (
        DataLoader(data(0), shuffle=True, generator=shuffling, **options),
        DataLoader(data(1), generator=torch.Generator().manual_seed(2), **options),
    )
    usual = {"max_epochs": 3, "accumulate_grad_batches": 3, "val_check_interval": 2}
    chosen = trainer(folder, *callbacks, **(usual | settings))
    chosen.fit(module, *loaders)
    return {
        "weights": copy.deepcopy(module.state_dict()),
        "optimizer": copy.deepcopy(chosen.optimizers[0].state_dict()),
        "random": (random.getstate(), np.random.get_state(), torch.get_rng_state(), _rng_states_of_cuda()),
        "generators": [loader.generator.get_state() for loader in loaders],
        "gradients": [p.grad.clone() for p in module.parameters() if gradients and p.grad is not None],
        "modes": [m.training for m in module.modules()],
        "learnable": [p.requires_grad for p in module.parameters()],
        "scaler": None if (scaler := getattr(chosen.precision_plugin, "scaler", None)) is None else scaler.state_dict(),
        "calls": module.calls,
        "validation": module.curve,
        "logged": {k: v for k, v in chosen.callback_metrics.items() if not k.startswith("mviz/")},
    }


def _rng_states_of_cuda() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def same(left: Any, right: Any) -> bool:
    """Compare nested values bit for bit."""
    if isinstance(left, Tensor):
        left, right = (one.full_tensor() if hasattr(one, "full_tensor") else one for one in (left, right))
        return torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
