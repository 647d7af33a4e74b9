"""What the cases share: examples, batches, a small network, and a module's common methods."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.observation.case import Case
from lightning.pytorch import LightningModule
from torch import Tensor, nn

COUNT, SIZE = 48, 16
"""Number of examples, and of those in a batch."""

WORDS, CLASSES = 20, 3
MODALITIES = {"image": "image", "text": "text"}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs() -> dict[str, Tensor]:
    """Return pictures and words, and two leaves of no modality that look like labels."""
    draw = generator(0)
    return {
        "image": torch.randn(COUNT, 3, 4, 4, generator=draw),
        "text": torch.randint(1, WORDS, (COUNT, 5), generator=draw),
        "index": torch.arange(COUNT),
        "weight": torch.rand(COUNT, generator=draw) + 0.5,
    }


def classes(count: int = CLASSES) -> Tensor:
    """Return ``(N,)`` class indices."""
    return torch.randint(count, (COUNT,), generator=generator(1))


def flags(*shape: int) -> Tensor:
    """Return ``(N, *shape)`` labels of 0 and 1."""
    return torch.randint(2, (COUNT, *shape), generator=generator(2)).float()


def values(*shape: int) -> Tensor:
    """Return ``(N, *shape)`` values."""
    return torch.randn(COUNT, *shape, generator=generator(3)) * 2 + 1


def batched(leaf: Any) -> list[Any]:
    """Return a leaf's parts, one for each batch."""
    return [leaf[start : start + SIZE] for start in range(0, COUNT, SIZE)]


def dicts(**labels: Any) -> list[dict[str, Any]]:
    """Return batches with names; class indices are the label ``y`` by default."""
    leaves = inputs() | (labels or {"y": classes()})
    return [dict(zip(leaves, parts, strict=True)) for parts in zip(*map(batched, leaves.values()), strict=True)]


def tuples(*labels: Any) -> list[tuple[Any, ...]]:
    """Return batches ``(image, text, *labels)``."""
    found = inputs()
    return list(zip(*map(batched, (found["image"], found["text"], *(labels or (classes(),)))), strict=True))


class Net(nn.Module):
    """Two encoders, joined so that both contribute alone and together."""

    def __init__(self, outputs: int = CLASSES) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(48, 8), nn.Embedding(WORDS, 8)
        self.head = nn.Linear(8, outputs)
        nn.init.normal_(self.head.weight)

    def features(self, image: Tensor, text: Tensor) -> Tensor:
        seen, read = self.image(image.flatten(1)), self.text(text).mean(1)
        return torch.tanh(seen + read + seen * read)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.features(image, text))


class User(LightningModule):
    """A user's module: ``step`` returns the loss of training and validation."""

    def __init__(self, outputs: int = CLASSES) -> None:
        super().__init__()
        self.net = Net(outputs)

    def step(self, batch: Any) -> Tensor:
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch), batch_size=SIZE)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def by_name(module: Any, batch: Any) -> Tensor:
    """Return what ``module.net`` gives for a batch with names."""
    return module.net(batch["image"], batch["text"])


def by_order(module: Any, batch: Any) -> Tensor:
    """Return what ``module.net`` gives for a batch that starts with image and text."""
    return module.net(batch[0], batch[1])


def leaf(path: str | int) -> Callable[[Any], Tensor]:
    """Return a function that takes one leaf of a batch."""
    return lambda batch: batch[path]


named = partial(
    Case,
    batches=dicts,
    modalities=MODALITIES,
    scores=by_name,
    target=leaf("y"),
    task="multiclass",
)
"""A case with dicts as batches and a class ``y``; every part can be another."""

ordered = partial(
    Case,
    batches=tuples,
    modalities={"image": "0", "text": "1"},
    scores=by_order,
    target=leaf(2),
    task="multiclass",
)
"""A case with batches ``(image, text, y)``."""
