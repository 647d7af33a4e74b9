"""A model that knows the labels and ignores the modalities that a plan names, validation by validation."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers.toy import trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import CollapseWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.sinks.records import Picture

NAMES = ("image", "text", "audio")
WEIGHTS = (1.5, 1.0)
RULE = {"patience": 2, "max_total": 0.05, "max_flips": 0.1, "max_drop": 0.05, "min_skill": 0.1, "min_alone": 0.05}
"""Thresholds of the rule, fixed here so that the tests do not depend on the defaults."""


class Known(LightningModule):
    """Answers with what made the labels, less the modalities that are left out.

    Args:
        plan: What is wrong at each validation, the last one from then on: names of modalities that are left out,
            ``unlearned`` (worse than chance) or ``ill`` (NaN).
        kind: Of the outputs.
        weights: Of the modalities.
        cut: Where the classes meet.
    """

    def __init__(self, plan: str = "-", kind: str = "multiclass", weights: Any = WEIGHTS, cut: float = 0.0) -> None:
        super().__init__()
        self.plan, self.kind, self.weights, self.cut = plan.split(), kind, weights, cut
        self.place, self.steps = -1, 0
        self.learned = nn.Parameter(torch.ones(1))

    @property
    def wrong(self) -> str:
        return self.plan[min(max(self.place, 0), len(self.plan) - 1)]

    def on_validation_start(self) -> None:
        self.place += not self.trainer.sanity_checking

    on_test_start = on_validation_start

    def forward(self, *modalities: Tensor) -> Tensor:
        wrong = self.wrong.split(",")
        # Nearly 0: a modality that changes no output to the last bit is told by a warning of its own.
        kept = [w * (name not in wrong) + 1e-6 for w, name in zip(self.weights, NAMES, strict=False)]
        score = sum(w * x[:, 0] for w, x in zip(kept, modalities, strict=False)) + 0 * self.learned
        score = -score if "unlearned" in wrong else score * float("nan") if "ill" in wrong else score
        columns = {
            "multiclass": [self.cut - score, score - self.cut],
            "binary": [score - self.cut],
            "multilabel": [score + 0.5, 0.5 - score],
            "regression": [score],
        }
        return torch.stack(columns[self.kind], 1)

    def training_step(self, batch: Any, _: int) -> Tensor:
        self.steps += 1
        return self.learned.square().sum()

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        self.log(
            "val_loss", self.learned.square().sum(), batch_size=len(batch[0]), add_dataloader_idx=dataloader_idx > 0
        )

    def test_step(self, batch: Any, _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(count: int = 256, kind: str = "multiclass", weights: Any = WEIGHTS, cut: float = 0.0, seed: int = 0) -> Any:
    """Four batches of examples that the model of the same arguments gets right."""
    generator = torch.Generator().manual_seed(seed)
    modalities = [torch.randn(count, 2, generator=generator) for _ in weights]
    score = sum(w * x[:, 0] for w, x in zip(weights, modalities, strict=True))
    labels = {
        "multiclass": (score > cut).long(),
        "binary": (score > cut).float(),
        "multilabel": torch.stack([score > -0.5, score < 0.5], 1).long(),
        "regression": score,
    }
    return DataLoader(TensorDataset(*modalities, labels[kind]), batch_size=count // 4)


def watching(count: int = 2, **settings: Any) -> MultimodalMonitor:
    defaults = {"target": str(count), "num_examples": 64, "group_size": 8, "reference": 256}
    modalities = {name: str(k) for k, name in enumerate(NAMES[:count])}
    return MultimodalMonitor(**({"modalities": modalities} | defaults | settings))


def alarm(**settings: Any) -> UnimodalCollapse:
    return UnimodalCollapse(**(RULE | settings))


def train(folder: Path, plan: str, *callbacks: Any, known: Any = None, path: Any = None, **settings: Any) -> Trainer:
    """Train for as many epochs as the plan has validations; alarms are no errors here."""
    module = Known(plan, **(known or {}))
    chosen = trainer(folder, *callbacks, **({"max_epochs": len(module.plan)} | settings))
    with unheard():
        fit(chosen, module, known=known, path=path)
    return chosen


def fit(chosen: Trainer, module: Known, known: Any = None, path: Any = None) -> None:
    """Train in a trainer that is there already; alarms are heard."""
    chosen.fit(module, data(64, **(known or {})), data(seed=1, **(known or {})), ckpt_path=path)


@contextmanager
def unheard() -> Iterator[None]:
    """Where alarms are no errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        yield


def states(watch: MultimodalMonitor, name: str = "text") -> list[int | None]:
    """The logged states of a modality, run by run."""
    return [row.values.get(f"collapse/{name}") for row in watch.history]


class Seen(Callback):
    """What other callbacks see at the end of every validation."""

    def __init__(self, key: str = "mviz/collapse/text") -> None:
        self.key, self.values = key, []

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if not trainer.sanity_checking:
            value = trainer.callback_metrics.get(self.key)
            self.values.append(None if value is None else float(value))


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what alarms say."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        yield said
    said += [str(warning.message) for warning in caught if warning.category is CollapseWarning]


class Noted:
    """An action that remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, trainer: Any, module: Any, verdict: Any) -> None:
        self.calls.append((trainer, module, verdict))


noted = Noted()
"""An action that tests name by its dotted path; it keeps its calls."""


def refuses(trainer: Any, module: Any, verdict: Any) -> None:
    """Raise, as an action of the user's own may."""
    raise RuntimeError(f"{verdict.modality} must not collapse")


def blank(*_: Any) -> Picture:
    """Stand for the curves, whose drawing takes most of a small training."""
    return Picture("shares", np.zeros((1, 1, 3), np.uint8))
