"""A training whose model reads an image and, where there is one, a text."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from helpers.toy import SMALL, examples
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor

Batch = dict[str, Any]


class Patient(LightningModule):
    """``validation_step`` calls another part of the model where the batch has no text."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.read, self.fuse = nn.Linear(4, 3), nn.Linear(3, 3), nn.Bilinear(4, 3, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.look(image) + self.read(text) + self.fuse(image, text)

    def loss(self, batch: Batch) -> Tensor:
        image, text = batch["image"], batch.get("text")
        return nn.functional.cross_entropy(self.look(image) if text is None else self(image, text), batch["label"])

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Batch, _: int) -> None:
        self.log("val_loss", self.loss(batch), batch_size=len(batch["image"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Strict(Patient):
    """Fails on a batch without text wherever it is asked to."""

    refuses = False

    def loss(self, batch: Batch) -> Tensor:
        if batch.get("text") is None and self.refuses:
            raise ValueError("there is nothing to read")
        return super().loss(batch)


def everything(count: int = 64, seed: int = 1) -> Batch:
    return dict(zip(("image", "text", "label"), examples(count, seed=seed).tensors, strict=True))


def batches_of(found: Batch, lacking: Iterable[int] = (), lacks: Callable[[Batch], Batch] | None = None) -> list[Batch]:
    """Cut examples into batches of 8, some of which lack a modality."""
    starts = range(0, len(found["label"]), 8)
    parts = [{name: leaf[start : start + 8] for name, leaf in found.items()} for start in starts]
    return [lacks(part) if lacks is not None and at in set(lacking) else part for at, part in enumerate(parts)]


def none(part: Batch) -> Batch:
    return part | {"text": None}


def missing(part: Batch) -> Batch:
    return {name: leaf for name, leaf in part.items() if name != "text"}


def loader(parts: Sequence[Batch]) -> DataLoader[Any]:
    return DataLoader(list(parts), batch_size=None)  # type: ignore[arg-type]


def watching(**settings: Any) -> MultimodalMonitor:
    return MultimodalMonitor(**({"modalities": ["image", "text"]} | SMALL | settings))


def accuracy(scores: Tensor, label: Tensor) -> float:
    return float((scores.argmax(1) == label).double().mean())
