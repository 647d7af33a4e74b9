"""A small two- or three-modality training that takes a second."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import MultimodalMonitor

MODALITIES = {"image": "0", "text": "1"}
SMALL = {"num_examples": 32, "group_size": 8, "reference": 48}


class Toy(LightningModule):
    """Late fusion of any number of vectors with a product term."""

    def __init__(self, sizes: tuple[int, ...] = (4, 3), outputs: int = 3) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(nn.Linear(size, 6) for size in sizes)
        self.head = nn.Linear(6, outputs)

    def forward(self, *modalities: Tensor) -> Tensor:
        encoded = torch.stack([encoder(x) for encoder, x in zip(self.encoders, modalities, strict=True)])
        return self.head(encoded.sum(0) + encoded.prod(0))

    def loss(self, batch: Any) -> Tensor:
        *modalities, label = batch
        outputs = self(*modalities)
        if outputs.shape[1] == 1:
            return nn.functional.mse_loss(outputs.squeeze(1), label.float())
        return nn.functional.cross_entropy(outputs, label)

    def training_step(self, batch: Any, _: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(batch), batch_size=len(batch[0]), add_dataloader_idx=dataloader_idx > 0)

    def test_step(self, batch: Any, _: int) -> None:
        self.log("test_loss", self.loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Unseen(Toy):
    """Gives its scores to no loss and to no metric in a validation, so that its call is guessed."""

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", 0.0, batch_size=1, add_dataloader_idx=dataloader_idx > 0)


def examples(count: int = 64, sizes: tuple[int, ...] = (4, 3), classes: int = 3, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    modalities = [torch.randn(count, size, generator=generator) for size in sizes]
    score = sum(values[:, 0] for values in modalities) + modalities[0][:, 1] * modalities[1][:, 1]
    label = ((score > -0.5).long() + (score > 0.5).long()).clamp(max=classes - 1)
    return TensorDataset(*modalities, label)


def loader(count: int = 64, *, shuffle: bool = False, batch_size: int = 16, **data: Any) -> DataLoader[Any]:
    return DataLoader(examples(count, **data), batch_size=batch_size, shuffle=shuffle)


def trainer(folder: Path, *callbacks: Any, **settings: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 2, "logger": False, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1}
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **(quiet | defaults | settings))


def monitor(**settings: Any) -> MultimodalMonitor:
    return MultimodalMonitor(**({"modalities": MODALITIES, "target": "2"} | SMALL | settings))


def fit(folder: Path, *callbacks: Any, module: LightningModule | None = None, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    chosen = trainer(folder, *callbacks, **settings)
    chosen.fit(module or Toy(), loader(shuffle=True), loader(seed=1))
    return chosen
