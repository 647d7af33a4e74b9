"""Watch a model of two sensors segment land below clouds, and see where it needs which sensor.

Each example is an optical picture, partly below clouds, and a radar picture of the same place. Radar sees through
clouds, but fields and forests look alike to it. A `MultimodalMonitor` shows how much the predictions of all pixels owe
to either sensor, and `PositionEffects` draws where: most to the radar below the clouds. Of each picture, the pixels of
one class are explained: `DIME`, what fused features respond to, and on what decisions failed.

    python examples/segmentation.py                train, and draw the maps
    python examples/segmentation.py --no-clouds    the same without clouds: the radar is hardly needed

The pictures are made by a seeded generator; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from itertools import pairwise
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import MultimodalMonitor
from mviz_lightning.explainers import DIME, ErrorAnalysis, MultimodalRepresentation, PositionEffects

SIZE = 40  # pixels along each side
CLASSES = ["field", "forest", "water", "town"]
COLOURS = torch.tensor([[0.75, 0.70, 0.35], [0.15, 0.40, 0.15], [0.15, 0.30, 0.60], [0.60, 0.55, 0.55]])
ECHOES = torch.tensor([0.5, 0.5, 0.2, 0.8])  # of fields and forests alike
CLOUDS = 0.35  # part of a picture below clouds
LAST = 100  # explain at the first validation and at the end

Batch = dict[str, Tensor]


class Scenes(Dataset[Batch]):
    """Optical pictures ``(3, H, W)``, radar pictures ``(1, H, W)`` and the class of each pixel ``(H, W)``."""

    def __init__(self, count: int, seed: int, *, clouds: bool = True) -> None:
        """Draw scenes; a strip at the left is not labelled, as where a map ends."""
        generator = torch.Generator().manual_seed(seed)
        land = torch.stack([self._smooth(count, 5, generator) for _ in CLASSES], 1).argmax(1)
        optical = COLOURS[land].permute(0, 3, 1, 2) + 0.15 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
        radar = ECHOES[land].unsqueeze(1) * (1 + 0.9 * torch.randn(count, 1, SIZE, SIZE, generator=generator))
        cover = self._smooth(count, 4, generator)
        hidden = (cover > cover.flatten(1).quantile(1 - CLOUDS, dim=1).view(-1, 1, 1)).unsqueeze(1) & clouds
        white = 0.95 + 0.05 * torch.randn(count, 1, SIZE, SIZE, generator=generator)
        labels = land.clone()
        labels[:, :, :3] = -100
        self._columns = {"optical": torch.where(hidden, white, optical).clamp(0, 1), "radar": radar, "land": labels}

    @staticmethod
    def _smooth(count: int, cells: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(count, 1, cells, cells, generator=generator)
        return functional.interpolate(noise, size=(SIZE, SIZE), mode="bicubic")[:, 0]

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self._columns["land"])

    def __getitem__(self, index: int) -> Batch:
        """Return one scene."""
        return {name: column[index] for name, column in self._columns.items()}


class Encoder(nn.Sequential):
    """Three convolutions from ``(B, channels, H, W)`` to ``(B, width, H, W)``."""

    def __init__(self, channels: int, width: int) -> None:
        """Look at wider and wider surroundings."""
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(pairwise((channels, width, width, width))):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=place + 1, dilation=place + 1), nn.ReLU()]
        super().__init__(*layers)


class LandCover(LightningModule):
    """A network for each sensor, and two convolutions over both."""

    def __init__(self, width: int = 16, learning_rate: float = 5e-3) -> None:
        """Make both networks, `width` features a pixel each."""
        super().__init__()
        self.learning_rate = learning_rate
        self.optical, self.radar = Encoder(3, width), Encoder(1, width)
        self.fusion = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.ReLU(), nn.Conv2d(width, len(CLASSES), 1))

    def forward(self, optical: Tensor, radar: Tensor) -> Tensor:
        """Return logits ``(B, classes, H, W)``."""
        logits: Tensor = self.fusion(torch.cat([self.optical(optical), self.radar(radar)], 1))
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        """Return the cross entropy of the labelled pixels."""
        return functional.cross_entropy(self(batch["optical"], batch["radar"]), batch["land"])

    def validation_step(self, batch: Batch) -> None:
        """Log the loss."""
        self.log("val_loss", self.training_step(batch), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


def main() -> None:
    """Train, then say what each sensor is worth and where the maps lie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--no-clouds", action="store_true", help="leave the clouds out")
    parser.add_argument("--output", type=Path, default=Path("runs/segmentation"), help="folder for the logs")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data lie in memory
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # about Lightning's own code
    seed_everything(0, verbose=False)
    train, validation = (Scenes(count, seed, clouds=not arguments.no_clouds) for seed, count in ((0, 320), (1, 128)))
    monitor = MultimodalMonitor(
        modalities={"optical": "optical", "radar": "radar"},
        class_names=CLASSES,
        explainers=[
            PositionEffects(num_examples=3),
            DIME(num_examples=1, every_n_validations=LAST),
            MultimodalRepresentation(features_shown=3, every_n_validations=LAST),
            ErrorAnalysis(every_n_validations=LAST),
        ],
        by_class=True,
    )
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(arguments.output, name=""),
        callbacks=[monitor],
        enable_model_summary=False,
    )
    trainer.fit(LandCover(), DataLoader(train, batch_size=32, shuffle=True), DataLoader(validation, batch_size=32))
    print(monitor.history)
    for name in CLASSES:
        keys = {sensor: f"mviz/class/{name}/total/{sensor}" for sensor in ("optical", "radar")}
        totals = (f"{sensor} {trainer.callback_metrics[key]:.2f}" for sensor, key in keys.items())
        print(f"total effects in pixels of {name}: {', '.join(totals)}")
    print(f"Where to look: {trainer.log_dir}/mviz/position_effects, or tensorboard --logdir {arguments.output}")


if __name__ == "__main__":
    main()
