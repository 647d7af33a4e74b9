"""Train two small towers on pictures and their captions, and watch one of them collapse.

Each picture shows a shape in a colour at a place, and its caption says so: "a large red ring at the top left". As in
CLIP, InfoNCE pulls each picture to its own caption and away from those of the others. The monitor shows how well pairs
are found within groups, how both towers' embeddings lie, and which pixels and words make a pair similar.

The second training has a bug that raises no error: pictures are divided by 255 twice. The image tower then gives all
pictures nearly the same embedding, no pair is found, and the alarm names the tower. Later the loss falls all the same,
but most pairs are still not found, and the embeddings have few effective dimensions.

    python examples/contrastive.py

Pictures and captions are generated with a seed: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME

SIZE = 32
COLOURS = {
    "red": (0.9, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.3, 0.9), "yellow": (0.95, 0.85, 0.1),
    "purple": (0.6, 0.1, 0.7), "orange": (1.0, 0.55, 0.0),
}  # fmt: skip
SHAPES = ["circle", "square", "diamond", "cross", "ring"]
SIDES = {"small": 5.0, "large": 8.0}
PLACES = {
    ("top", "left"): (9.0, 9.0), ("top", "right"): (9.0, 23.0),
    ("bottom", "left"): (23.0, 9.0), ("bottom", "right"): (23.0, 23.0),
}  # fmt: skip
VOCABULARY = ["a", *SIDES, *COLOURS, *SHAPES, "at", "the", "top", "bottom", "left", "right"]

Batch = dict[str, Tensor]


def shape_mask(shape: str, y: Tensor, x: Tensor, side: float) -> Tensor:
    """Return ``(SIZE, SIZE)`` bool: which pixels a shape covers whose centre is at 0."""
    radius = (y.square() + x.square()).sqrt()
    return {
        "circle": radius <= side,
        "square": torch.maximum(y.abs(), x.abs()) <= 0.85 * side,
        "diamond": y.abs() + x.abs() <= 1.2 * side,
        "cross": (torch.minimum(y.abs(), x.abs()) <= 0.3 * side) & (torch.maximum(y.abs(), x.abs()) <= side),
        "ring": (radius <= side) & (radius >= 0.55 * side),
    }[shape]


class CaptionedShapes(Dataset[Batch]):
    """Pictures ``(3, 32, 32)`` from 0 to 255 and captions ``(8,)``, numbers of words."""

    def __init__(self, count: int, seed: int) -> None:
        """Draw shapes, colours, sizes and places at random, with some shift and noise."""
        self._generator = torch.Generator().manual_seed(seed)
        pairs = [self._draw() for _ in range(count)]
        self._pictures, self._captions = (torch.stack(column) for column in zip(*pairs, strict=True))

    def _choose(self, options: list[str] | list[tuple[str, str]]) -> int:
        return int(torch.randint(len(options), (1,), generator=self._generator))

    def _draw(self) -> tuple[Tensor, Tensor]:
        sizes, colours, places = list(SIDES), list(COLOURS), list(PLACES)
        size, colour = sizes[self._choose(sizes)], colours[self._choose(colours)]
        shape, place = SHAPES[self._choose(SHAPES)], places[self._choose(places)]
        words = ["a", size, colour, shape, "at", "the", *place]
        shift = 2 * torch.rand(2, generator=self._generator) - 1
        y, x = torch.meshgrid(*(torch.arange(SIZE) - centre for centre in PLACES[place]), indexing="ij")
        covered = shape_mask(shape, y - shift[0], x - shift[1], SIDES[size])
        picture = torch.where(covered, torch.tensor(COLOURS[colour]).view(3, 1, 1), 0.85)
        picture = picture + 0.05 * torch.randn(3, SIZE, SIZE, generator=self._generator)
        return 255 * picture.clamp(0, 1), torch.tensor([VOCABULARY.index(word) for word in words])

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> Batch:
        """Return one pair."""
        return {"image": self._pictures[index], "text": self._captions[index]}


class TwoTowers(LightningModule):
    """A CNN for pictures and a small transformer-free reader for captions, trained with InfoNCE in both directions."""

    def __init__(self, scale: float, width: int = 32) -> None:
        """Make the towers; pixels are multiplied by ``scale``."""
        super().__init__()
        self.pixel_scale = scale
        self.image = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 16, width),
        )  # fmt: skip
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.text = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width))
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the embeddings of pictures and captions, ``(B, width)`` of length 1, and the scale of the scores."""
        pictures = functional.normalize(self.image(image * self.pixel_scale), dim=-1)
        captions = functional.normalize(self.text(self.words(text).mean(1)), dim=-1)
        return pictures, captions, self.log_scale.exp()

    def contrast(self, batch: Batch) -> Tensor:
        """Return InfoNCE of all pairs of the batch, from pictures to captions and back."""
        pictures, captions, scale = self(batch["image"], batch["text"])
        scores = scale * pictures @ captions.T
        own = torch.arange(len(scores), device=scores.device)
        return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss."""
        return self.contrast(batch)

    def validation_step(self, batch: Batch) -> None:
        """Log the loss."""
        self.log("val_loss", self.contrast(batch), prog_bar=True, batch_size=len(batch["image"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def spelled(ids: list[int]) -> list[str]:
    """Return the words of a caption."""
    return [VOCABULARY[number] for number in ids]


def train(name: str, scale: float, epochs: int, folder: Path) -> None:
    """Train two towers under the monitor and print what it saw."""
    seed_everything(0, verbose=False)
    training, validation = CaptionedShapes(1536, seed=1), CaptionedShapes(512, seed=2)
    monitor = MultimodalMonitor(
        # Neither labels nor scores are named: the monitor reads them from the validation step.
        modalities={"image": "image", "text": Modality("text", decode=spelled)},
        explainers=[DIME(num_examples=2)],
    )
    logger = TensorBoardLogger(folder, name="", version=name)
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, logger=logger, callbacks=[monitor, UnimodalCollapse()],
        log_every_n_steps=8, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loaders = DataLoader(training, batch_size=64, shuffle=True), DataLoader(validation, batch_size=64)
    trainer.fit(TwoTowers(scale), *loaders)
    print(f"\n{name}\n{monitor.history}")
    print(f"pictures: {logger.log_dir}/mviz")


def main() -> None:
    """Train without and with the bug."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("runs/contrastive"), help="folder for the logs")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data lie in memory
    warnings.filterwarnings("ignore", message=".*took more than 10%")  # a training of seconds
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # about Lightning's own code
    train("healthy", 1 / 255, arguments.epochs, arguments.output)
    train("divided_twice", 1 / 255**2, arguments.epochs, arguments.output)


if __name__ == "__main__":
    main()
