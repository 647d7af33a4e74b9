"""Towers that are trained to tell which pairs belong together."""

from collections.abc import Callable
from typing import Any

import torch
from helpers.batches import floats
from helpers.tally import Tally
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, StackDataset

SIZES = {"image": 6, "text": 5, "audio": 4}


ENCODED = Tally()
"""Rows of each call of an encoder; no attribute, which isolation would restore."""


class Tower(nn.Module):
    """An encoder that notes how many rows it sees."""

    def __init__(self, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 32), nn.Tanh(), nn.Linear(32, 8))
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        """Return ``(B, 8)`` of length 1."""
        ENCODED.seen.append(len(values))
        return normalize(self.layers(values * self.scale), dim=-1)


class Pairs(LightningModule):
    """InfoNCE of all pairs of two or more towers.

    Args:
        names: Names of the towers.
        scales: Factor of the inputs of some of them; 0 makes a constant tower.
        pair: Which texts belong to the images of a training batch.
    """

    def __init__(
        self,
        names: tuple[str, ...] = ("image", "text"),
        scales: dict[str, float] | None = None,
        pair: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleDict({name: Tower(SIZES[name], (scales or {}).get(name, 1.0)) for name in names})
        self.pair = pair

    def loss(self, batch: Any) -> Tensor:
        found = [tower(batch[name]) for name, tower in self.towers.items()]
        grids = [8 * one @ other.T for place, one in enumerate(found) for other in found[:place]]
        losses = [cross_entropy(grid, torch.arange(len(grid), device=grid.device)) for grid in grids]
        return torch.stack(losses).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch | {"text": self.pair(batch["text"])})

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), batch_size=len(batch["image"]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.03)


def planted(count: int = 64, seed: int = 0) -> dict[str, Tensor]:
    """Return what the modalities show of the same four hidden numbers."""
    hidden = floats(count, 4, seed=seed)
    mixed = {name: floats(4, size, seed=90 + place) for place, (name, size) in enumerate(SIZES.items())}
    return {name: hidden @ one + 0.02 * floats(count, one.shape[1], seed=seed + 50) for name, one in mixed.items()}


def loaders(training: int = 256, validation: int = 64) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return loaders for training and validation."""
    return (
        DataLoader(StackDataset(**planted(training, seed=1)), 32, shuffle=True),
        DataLoader(StackDataset(**planted(validation, seed=2)), 32),
    )
