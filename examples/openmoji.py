"""Watch how a picture-and-text classifier uses its modalities while it trains.

The input is an emoji of 32 x 32 pixels and its short name ("red apple"). A small CNN encodes the picture, the mean of
word embeddings encodes the name, and an MLP on both predicts which of eight Unicode groups the emoji belongs to.

A `MultimodalMonitor` in the Trainer measures how much the model uses each of them, and explains four emojis (DIME). It
also runs the four stages of MultiViz (which parts matter, which act together, what the fused features stand for, how
they make a prediction) and an analysis of the errors. `UnimodalCollapse` warns if the model does not use the picture or
the name.

    python examples/openmoji.py

With `--mix-up-pictures`, every training emoji has the picture of another one. This happens when a loader shuffles each
modality on its own. Loss and accuracy do not show it. The alarm does, and stops the training.

Emojis by OpenMoji, CC BY-SA 4.0; see data/OPENMOJI.md.
"""

from __future__ import annotations

import argparse
import logging
import re
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import wandb
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    Explainer,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lightning import Callback
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

DATA = Path(__file__).parent / "data" / "openmoji.npz"
MAX_WORDS = 8  # the longest annotation
PAD, UNKNOWN = 0, 1
EXPLAINERS: list[Explainer] = [
    DIME(num_examples=4),
    UnimodalImportance(num_examples=2),
    CrossModalInteraction(num_examples=2),
    MultimodalRepresentation(),
    MultimodalPrediction(num_examples=2),
    ErrorAnalysis(),
]
PIN = [378, 172]  # of the validation set: a red question mark, and a rose of whose name no word is known

Batch = dict[str, Tensor]


class Vocabulary:
    """The frequent words of the training texts, numbered after "<pad>" and "<unknown>"."""

    def __init__(self, texts: Iterable[str], min_count: int = 2) -> None:
        """Collect the words that occur at least `min_count` times.

        Rarer words become "<unknown>" in training too, so that its embedding is trained.
        """
        counts = Counter(word for text in texts for word in self.split(text))
        self.words = ["<pad>", "<unknown>", *sorted(word for word, count in counts.items() if count >= min_count)]
        self._index = {word: index for index, word in enumerate(self.words)}

    @staticmethod
    def split(text: str) -> list[str]:
        """Split a text into lower-case words, without punctuation."""
        return re.findall(r"\w+", text.lower())

    def encode(self, texts: Iterable[str]) -> Tensor:
        """Turn N texts into token ids ``(N, MAX_WORDS)``, padded with 0."""
        rows = [[self._index.get(word, UNKNOWN) for word in self.split(text)[:MAX_WORDS]] for text in texts]
        return torch.tensor([row + [PAD] * (MAX_WORDS - len(row)) for row in rows])


class OpenMoji(Dataset[Batch]):
    """Emojis as dicts of image ``(3, 32, 32)``, tokens ``(MAX_WORDS,)``, mask (True at words) and label."""

    def __init__(self, images: Tensor, tokens: Tensor, labels: Tensor) -> None:
        """Hold one row of every tensor for each example: so small a set needs no worker processes."""
        self._columns = {"image": images, "tokens": tokens, "mask": tokens != PAD, "label": labels}

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._columns["label"])

    def __getitem__(self, index: int) -> Batch:
        """Return one example."""
        return {name: column[index] for name, column in self._columns.items()}


class OpenMojiData(NamedTuple):
    """Both parts of the data set and what is needed to read them."""

    train: OpenMoji
    validation: OpenMoji
    vocabulary: Vocabulary
    class_names: list[str]
    mean: list[float]
    std: list[float]


def load_data(path: Path = DATA, *, mix_up: bool = False) -> OpenMojiData:
    """Read the array file; vocabulary and normalisation come from the training part alone."""
    arrays = np.load(path, allow_pickle=False)
    texts, train = arrays["texts"], arrays["train"]
    vocabulary = Vocabulary(texts[train])
    pixels, tokens = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).float() / 255, vocabulary.encode(texts)
    std, mean = torch.std_mean(pixels[train], dim=(0, 2, 3), keepdim=True)
    images = (pixels - mean) / std
    if mix_up:
        images[train] = images[np.random.default_rng(0).permutation(train)]
    labels = torch.from_numpy(arrays["labels"]).long()
    training, validation = (
        OpenMoji(images[rows], tokens[rows], labels[rows]) for rows in (train, arrays["validation"])
    )
    names = arrays["class_names"].tolist()
    return OpenMojiData(training, validation, vocabulary, names, mean.flatten().tolist(), std.flatten().tolist())


def convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolve and halve the resolution.

    Group rather than batch normalisation: the probe sees the evaluation mode, where a batch norm's lagging averages
    make the curves of the first epochs jump.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class ImageEncoder(nn.Sequential):
    """A CNN from ``(B, 3, 32, 32)`` to ``(B, width)``."""

    def __init__(self, width: int) -> None:
        """Stack four convolutions, from 32 pixels a side down to 2, and average what is left."""
        channels = (3, width // 2, width, width, width)
        blocks = (convolution(inputs, outputs) for inputs, outputs in pairwise(channels))
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class TextEncoder(nn.Module):
    """The mean embedding of a text's words, from ``(B, T)`` to ``(B, width)``."""

    def __init__(self, vocabulary_size: int, width: int) -> None:
        """Make one embedding a word."""
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=PAD)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Average over the words; a text without any, as explainers may ask for, gives zeros."""
        weights = mask.unsqueeze(-1).float()
        words: Tensor = self.embedding(tokens) * weights
        return words.sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class OpenMojiClassifier(LightningModule):
    """Late fusion: an encoder for each modality, then an MLP on both."""

    def __init__(self, vocabulary_size: int, num_classes: int, width: int = 128, learning_rate: float = 4e-3) -> None:
        """Make the encoders, `width` features each, and the fusion MLP."""
        super().__init__()
        self.learning_rate = learning_rate
        self.image_encoder = ImageEncoder(width)
        self.text_encoder = TextEncoder(vocabulary_size, width)
        self.fusion = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(2 * width, width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, num_classes),
        )

    def forward(self, image: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)`` for images ``(B, 3, 32, 32)``, tokens and mask ``(B, T)``."""
        features = (self.image_encoder(image), self.text_encoder(tokens, mask))
        logits: Tensor = self.fusion(torch.cat(features, dim=-1))
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        """Return the cross entropy."""
        logits = self(batch["image"], batch["tokens"], batch["mask"])
        loss = functional.cross_entropy(logits, batch["label"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Log the loss and the accuracy."""
        logits, labels = self(batch["image"], batch["tokens"], batch["mask"]), batch["label"]
        scores = {
            "val_loss": functional.cross_entropy(logits, labels),
            "val_accuracy": (logits.argmax(dim=-1) == labels).float().mean(),
        }
        self.log_dict(scores, prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Warm up, then anneal to zero over the whole fit."""
        optimizer = torch.optim.AdamW(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.learning_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_loggers(output: Path) -> tuple[TensorBoardLogger, WandbLogger]:
    """Log to TensorBoard and to an offline W&B run, both below `output`; neither needs the network."""
    output.mkdir(parents=True, exist_ok=True)
    return (
        TensorBoardLogger(output, name=""),
        WandbLogger(project="mviz-openmoji", save_dir=output, offline=True),
    )


def quiet_console() -> None:
    """Leave the console to the progress bar and the monitor."""
    # Lightning's notes on the hardware and its tips; its warnings still show.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # The data lie in memory, so that the worker processes it asks for would only cost time.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # Lightning 2.6 meets torch 2.13: about Lightning's own code, nothing to do here.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")
    # Before WandbLogger starts a run, which causes a deprecation warning of its own. The mode must be set here too:
    # once W&B is set up, it no longer reads the environment variable by which WandbLogger asks for it.
    wandb.setup(wandb.Settings(mode="offline", silent=True))


def make_monitor(data: OpenMojiData, explainers: Sequence[Explainer]) -> MultimodalMonitor:
    """Say where the modalities are and how a person knows them, and ask for explanations."""
    return MultimodalMonitor(
        modalities={
            "image": Modality("image", mean=data.mean, std=data.std),
            "text": Modality("tokens", mask="mask", decode=data.vocabulary.words),
        },
        class_names=data.class_names,
        explainers=explainers,
        pin=PIN,
    )


def make_trainer(epochs: int, loggers: Iterable[Logger], callbacks: Sequence[Callback]) -> Trainer:
    """Make a reproducible Trainer for the CPU."""
    return Trainer(
        accelerator="cpu",
        deterministic=True,
        max_epochs=epochs,
        logger=loggers,
        callbacks=list(callbacks),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def where_to_look(tensorboard: TensorBoardLogger, wandb_run: Path) -> str:
    """Say how to see what the run has logged."""
    return f"""
Where to look
  the report page       {Path(tensorboard.log_dir) / "mviz" / "report.html"}
  curves and pictures   tensorboard --logdir {tensorboard.save_dir}
  the same on W&B       wandb sync {wandb_run}
  files                 {Path(tensorboard.log_dir) / "mviz"}/"""


def what_the_loss_hides(monitor: MultimodalMonitor) -> str:
    """Describe how the use of both modalities changed, and what the model loses without each of them."""
    first, last = monitor.history.fitted[0].values, monitor.history.fitted[-1].values
    used = {part: f"{first[f'total/{part}']:4.0%} -> {last[f'total/{part}']:4.0%}" for part in ("image", "text")}
    return f"""
What the loss does not say: after epoch 0 -> at the end
  accuracy                                          {first["score"]:.2f} -> {last["score"]:.2f}
  variance of the outputs lost without the picture  {used["image"]}
  variance of the outputs lost without the name     {used["text"]}
  accuracy lost with the picture of another emoji           {last["perceptual/image"]:.2f}
  accuracy lost with the name of another emoji              {last["perceptual/text"]:.2f}"""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train on OpenMoji and watch how both modalities are used.")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--mix-up-pictures", action="store_true", help="give training emojis the pictures of others")
    parser.add_argument("--output", type=Path, default=Path("runs/openmoji"), help="folder for the logs")
    return parser.parse_args()


def main() -> None:
    """Train, then show how the use of both modalities has moved."""
    arguments = parse_arguments()
    quiet_console()
    torch.set_num_threads(1)  # so small a model is slower on several
    seed_everything(0, verbose=False)
    data = load_data(mix_up=arguments.mix_up_pictures)
    model = OpenMojiClassifier(len(data.vocabulary.words), len(data.class_names))
    tensorboard, wandb_logger = make_loggers(arguments.output)
    monitor, alarm = make_monitor(data, EXPLAINERS), UnimodalCollapse(action="stop")
    trainer = make_trainer(arguments.epochs, [tensorboard, wandb_logger], [monitor, alarm])
    trainer.fit(
        model,
        DataLoader(data.train, batch_size=32, shuffle=True),
        DataLoader(data.validation, batch_size=128),
    )
    wandb_run = Path(wandb_logger.experiment.dir).parent
    wandb.finish()
    print(monitor.history)
    print(where_to_look(tensorboard, wandb_run))
    print(what_the_loss_hides(monitor))


if __name__ == "__main__":
    main()
