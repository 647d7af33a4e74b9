"""A LightningModule with two heads, of which one may have collapsed."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

MODALITIES = {"image": "image", "text": "text"}


def examples(count: int = 256, seed: int = 1) -> list[dict[str, Tensor]]:
    """Return examples whose labels each need both modalities: ``noun`` their first columns, ``verb`` their second."""
    image, text = torch.randn(2, count, 3, generator=torch.Generator().manual_seed(seed))
    noun, verb = ((image[:, k] + text[:, k] > 0).long() for k in (0, 1))
    leaves = {"image": image, "text": text, "noun": noun, "verb": verb}
    return [{name: leaf[k] for name, leaf in leaves.items()} for k in range(count)]


def loader(count: int = 256, size: int = 64) -> DataLoader[Any]:
    return DataLoader(examples(count), batch_size=size)  # type: ignore[arg-type]


class Headed(pl.LightningModule):
    """Head ``noun`` uses both modalities; head ``verb`` the text with this weight.

    Args:
        text: Weight of the text in head ``verb``.
        rate: Learning rate.
    """

    def __init__(self, text: float = 0.0, rate: float = 0.0) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.image.weight.copy_(torch.eye(3))
            self.text.weight.copy_(torch.diag(torch.tensor([1.0, text, 0.0])))
        self.rate = rate

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        both = 4 * (self.image(image) + self.text(text))
        return {name: torch.stack([-both[:, k], both[:, k]], 1) for name, k in (("noun", 0), ("verb", 1))}

    def loss(self, batch: Any) -> Tensor:
        found = self(batch["image"], batch["text"])
        return torch.stack([functional.cross_entropy(found[name], batch[name]) for name in found]).sum()

    def training_step(self, batch: Any, _: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, _: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.rate)
