"""Watch how a model of three modalities uses each, and which pairs act together.

Handwritten digits, described in three ways: Fourier coefficients of their shapes, Zernike moments, and six
morphological features. Each says a good part of the digit; the monitor shows how the model divides its trust among them
while it trains, and what pairs of them add together. For some digits, DIME shows which columns drove the decision; the
fused features are sorted by the views that they follow, and mistakes by what failed.

    python examples/mfeat.py

UCI's "Multiple Features", by R. Duin, CC BY 4.0; see data/MFEAT.md.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME, ErrorAnalysis, MultimodalRepresentation

DATA = Path(__file__).parent / "data" / "mfeat.npz"
VIEWS = {"fourier": "fou", "zernike": "zer", "morphology": "mor"}
MORPHOLOGY = [f"shape {column}" for column in range(1, 7)]

Batch = dict[str, Tensor]


class Digits(Dataset[Batch]):
    """Three standardised views of a digit, and the digit."""

    def __init__(self, arrays: dict[str, np.ndarray], split: str) -> None:
        """Standardise by the training part alone."""
        self._columns = {"label": torch.from_numpy(arrays["labels"][arrays[split]]).long()}
        for name, view in VIEWS.items():
            values = torch.from_numpy(arrays[view].astype(np.float32))
            std, mean = torch.std_mean(values[arrays["train"].astype(np.int64)], dim=0)
            self._columns[name] = ((values - mean) / std)[arrays[split].astype(np.int64)]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._columns["label"])

    def __getitem__(self, index: int) -> Batch:
        """Return one example."""
        return {name: column[index] for name, column in self._columns.items()}


class DigitClassifier(LightningModule):
    """An encoder for each view, then an MLP on all of them."""

    def __init__(self, columns: dict[str, int], width: int = 32) -> None:
        """Make the encoders, `width` features each, and the fusion MLP."""
        super().__init__()
        self.encoders = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(count, width), nn.ReLU()) for name, count in columns.items()}
        )
        self.fusion = nn.Sequential(nn.Linear(width * len(columns), 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, fourier: Tensor, zernike: Tensor, morphology: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        views = {"fourier": fourier, "zernike": zernike, "morphology": morphology}
        logits: Tensor = self.fusion(torch.cat([self.encoders[name](view) for name, view in views.items()], dim=1))
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        """Return the cross entropy."""
        return functional.cross_entropy(self(*(batch[name] for name in VIEWS)), batch["label"])

    def validation_step(self, batch: Batch) -> None:
        """Log the loss and the accuracy."""
        logits, labels = self(*(batch[name] for name in VIEWS)), batch["label"]
        accuracy = (logits.argmax(dim=-1) == labels).float().mean()
        scores = {"val_loss": functional.cross_entropy(logits, labels), "val_accuracy": accuracy}
        self.log_dict(scores, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def make_monitor() -> MultimodalMonitor:
    """Say where the views are, and ask for explanations."""
    return MultimodalMonitor(
        modalities={
            "fourier": "fourier",
            "zernike": "zernike",
            "morphology": Modality("morphology", feature_names=MORPHOLOGY),
        },
        target="label",  # optional: without it, the labels of the validation step
        class_names=[str(digit) for digit in range(10)],
        explainers=[DIME(num_examples=3), MultimodalRepresentation(), ErrorAnalysis()],
    )


def main() -> None:
    """Train, then show how the use of the views has moved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("runs/mfeat"), help="folder for the logs")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data lie in memory
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # about Lightning's own code
    seed_everything(0, verbose=False)
    with np.load(DATA, allow_pickle=False) as file:
        arrays = dict(file)
    logger, monitor = TensorBoardLogger(arguments.output, name=""), make_monitor()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=arguments.epochs,
        logger=logger,
        callbacks=[monitor, UnimodalCollapse()],
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    trainer.fit(
        DigitClassifier({name: arrays[view].shape[1] for name, view in VIEWS.items()}),
        DataLoader(Digits(arrays, "train"), batch_size=32, shuffle=True),
        DataLoader(Digits(arrays, "validation"), batch_size=200),
    )
    print(monitor.history)
    print(f"\nCurves and pictures: tensorboard --logdir {arguments.output}\nFiles: {Path(logger.log_dir) / 'mviz'}/")


if __name__ == "__main__":
    main()
