"""Watch a model of written and spoken digits fall silent on one of them, and be brought back at the alarm.

Each example is a handwritten digit under noise, as a bad camera gives it, and the same digit spoken clearly. The spoken
word says nearly everything, so the picture is learned slowly, and left out for good if nobody looks: the score does not
tell. A `MultimodalMonitor` shows it, and a `UnimodalCollapse` acts at its alarm: from then on the model gets no word in
half of the examples, and has to look.

    python examples/av_digits.py                  repairs itself at the alarm
    python examples/av_digits.py --leave-alone    is only warned

Pictures from MNIST, words spoken by eSpeak NG; see data/AV_DIGITS.md.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME, UnimodalImportance

if TYPE_CHECKING:
    from mviz_lightning.collapse.rule import Verdict

DATA = Path(__file__).parent / "data" / "av_digits.npz"
NOISE = 1.0  # standard deviation, beside ink of 1
PAIRS = {"train": 2500, "validation": 600}

Batch = dict[str, Tensor]


class Digits(Dataset[Batch]):
    """Pictures ``(1, 28, 28)`` and spectrograms ``(1, 32, 32)``, bands first, of the same digit."""

    def __init__(self, arrays: dict[str, np.ndarray], split: str, seed: int) -> None:
        """Pair every digit of a random list with a picture and a word of its own."""
        generator = np.random.default_rng(seed)
        digits = generator.integers(10, size=PAIRS[split])
        columns = {}
        for name, values, labels in (("image", "images", "image_labels"), ("sound", "mels", "mel_labels")):
            pool = arrays[f"{values[:-1]}_{split}"]
            by_digit = [pool[arrays[labels][pool] == digit] for digit in range(10)]
            drawn = [generator.choice(by_digit[digit]) for digit in digits]
            columns[name] = torch.from_numpy(arrays[values][drawn]).unsqueeze(1).float() / 255
        noise = torch.from_numpy(generator.normal(0, NOISE, columns["image"].shape)).float()
        self._columns = {**columns, "image": columns["image"] + noise, "label": torch.from_numpy(digits)}

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._columns["label"])

    def __getitem__(self, index: int) -> Batch:
        """Return one example."""
        return {name: column[index] for name, column in self._columns.items()}


class Encoder(nn.Sequential):
    """A small CNN from ``(B, 1, H, W)`` to ``(B, width)``."""

    def __init__(self, width: int) -> None:
        """Halve the resolution three times, average over nine fields, and mix."""
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((1, 16, 32, 32)):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(288, width), nn.ReLU())


class DigitClassifier(LightningModule):
    """Late fusion, with a modality dropout that can be switched on at any time.

    Attributes:
        neglected: The modality that is learned alone in half of the training examples; none at first.
    """

    def __init__(self, width: int = 48, learning_rate: float = 2e-3, image_rate: float = 2e-4) -> None:
        """Make both encoders, `width` features each, and the fusion MLP; pictures have a rate of their own."""
        super().__init__()
        self.learning_rate, self.image_rate = learning_rate, image_rate
        self.neglected: str | None = None
        self.encoders = nn.ModuleDict({"image": Encoder(width), "sound": Encoder(width)})
        self.fusion = nn.Sequential(nn.Linear(2 * width, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image: Tensor, sound: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        features = {"image": self.encoders["image"](image), "sound": self.encoders["sound"](sound)}
        if self.training and self.neglected:
            stays = torch.rand(len(image), 1, device=self.device) < 1 / 2
            features = {name: x if name == self.neglected else x * stays for name, x in features.items()}
        logits: Tensor = self.fusion(torch.cat(list(features.values()), dim=1))
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        """Return the cross entropy."""
        return functional.cross_entropy(self(batch["image"], batch["sound"]), batch["label"])

    def validation_step(self, batch: Batch) -> None:
        """Log the loss and the accuracy."""
        logits, labels = self(batch["image"], batch["sound"]), batch["label"]
        scores = {
            "val_loss": functional.cross_entropy(logits, labels),
            "val_accuracy": (logits.argmax(dim=-1) == labels).float().mean(),
        }
        self.log_dict(scores, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Let the picture's encoder learn slowly, as one does with an encoder that came pretrained."""
        slow = {"params": list(self.encoders["image"].parameters()), "lr": self.image_rate}
        rest = [*self.encoders["sound"].parameters(), *self.fusion.parameters()]
        return torch.optim.AdamW([slow, {"params": rest, "lr": self.learning_rate}])


def bring_back(trainer: Trainer, module: LightningModule, verdict: Verdict) -> None:
    """Hide the others from here on in half of the examples, and let all encoders learn alike."""
    module.neglected = verdict.modality  # type: ignore[assignment]
    for group in trainer.optimizers[0].param_groups:
        group["lr"] = max(other["lr"] for other in trainer.optimizers[0].param_groups)


def make_monitor() -> MultimodalMonitor:
    """Say where picture and sound are, and ask for explanations."""
    return MultimodalMonitor(
        modalities={"image": "image", "sound": Modality("sound", kind="audio")},
        class_names=[str(digit) for digit in range(10)],
        explainers=[DIME(num_examples=3), UnimodalImportance(num_examples=3)],
    )


def main() -> None:
    """Train, then show how the use of both modalities has moved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--leave-alone", action="store_true", help="warn, and change nothing")
    parser.add_argument("--output", type=Path, default=Path("runs/av_digits"), help="folder for the logs")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data lie in memory
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # about Lightning's own code
    seed_everything(0, verbose=False)
    with np.load(DATA, allow_pickle=False) as file:
        arrays = dict(file)
    logger = TensorBoardLogger(arguments.output, name="")
    # Both must be used: a regression on raw pixels under noise sees nothing in them that the sound does not tell.
    alarm = UnimodalCollapse("warn" if arguments.leave_alone else bring_back, expected=["image", "sound"])
    monitor = make_monitor()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=arguments.epochs,
        logger=logger,
        callbacks=[monitor, alarm],
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    trainer.fit(
        DigitClassifier(),
        DataLoader(Digits(arrays, "train", seed=0), batch_size=64, shuffle=True),
        DataLoader(Digits(arrays, "validation", seed=1), batch_size=200),
    )
    print(monitor.history)
    files = Path(logger.log_dir) / "mviz"
    print(f"\nThe report page: {files / 'report.html'}\nCurves and pictures: tensorboard --logdir {arguments.output}")


if __name__ == "__main__":
    main()
