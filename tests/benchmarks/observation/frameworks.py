"""Imitations of how public frameworks wrap a whole step: losses inside models, metrics as losses, steps of others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, MODALITIES, SIZE, Net, User, dicts, leaf, named, tuples, values
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class Report(dict):
    """A dict that is read by attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class LossesInCall(nn.Module):
    """A model whose call returns scores and losses together."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, sample: Any) -> Report:
        scores = self.net(sample["image"], sample["text"])
        return Report(scores=scores, losses={"val/cross_entropy": functional.cross_entropy(scores, sample["targets"])})


class Framework(User):
    """The losses come with the outputs, in one report."""

    def __init__(self):
        super().__init__()
        self.model = LossesInCall()

    def step(self, batch):
        report = self.model(batch)
        return sum(loss.mean() for loss in report.losses.values())


class Delegating(LightningModule):
    """The step is another object's."""

    def __init__(self) -> None:
        super().__init__()
        self.learner = Learner()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.learner(batch, "train", self)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.learner(batch, "val", self)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Learner(nn.Module):
    """A module whose forward is a whole step: it computes, measures and logs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.metrics = MetricCollection([MulticlassAccuracy(CLASSES), MulticlassF1Score(CLASSES)])

    def forward(self, batch: Any, stage: str, owner: LightningModule) -> Tensor:
        logits = self.net(batch["image"], batch["text"])
        owner.log_dict(self.metrics(logits, batch["y"]), batch_size=SIZE)
        loss = functional.cross_entropy(logits, batch["y"])
        owner.log(f"{stage}_loss", loss, batch_size=SIZE)
        return loss


class HorizonError(Metric):
    """A loss that is a metric, as packages for forecasting have it."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.total = self.total + (prediction - target).abs().sum()
        self.count = self.count + target.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class Forecaster(User):
    """Batches (inputs, (target, weight)), and a metric as loss."""

    def __init__(self):
        super().__init__(2)
        self.loss = HorizonError()

    def forward(self, x):
        return {"prediction": self.net(x["image"], x["text"]), "scale": x["weight"]}

    def step(self, batch):
        x, (y, _) = batch
        return self.loss(self(x)["prediction"], y)


def forecasts() -> list[Any]:
    return [(batch, (batch.pop("y"), None)) for batch in dicts(y=values(2))]


@dataclass
class Sample:
    """Three modalities of one example."""

    image: Tensor
    text: Tensor
    table: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


class ThreeModalities(User):
    """Two modalities in a network and a table beside it, with labels in a dict of the batch."""

    def __init__(self):
        super().__init__()
        self.table = nn.Linear(3, CLASSES)

    def forward(self, sample):
        return self.net(sample.image, sample.text) * torch.sigmoid(self.table(sample.table))

    def step(self, batch):
        return functional.cross_entropy(self(batch), batch.extra["label"])


def samples() -> list[Sample]:
    return [Sample(image, text, image[:, 0, 0, :3].flip(0), {"label": y}) for image, text, y in tuples()]


def inner(name: str) -> Callable[[Any, Any], Tensor]:
    """Return the scores of ``module.<name>.net``."""
    return lambda module, batch: getattr(module, name).net(batch["image"], batch["text"])


CASES: list[Case] = [
    named(
        "losses and scores in one report",
        "habits",
        Framework,
        batches=lambda: [batch | {"targets": batch.pop("y")} for batch in dicts()],
        scores=inner("model"),
        target=leaf("targets"),
    ),
    named("a step that another module has", "habits", Delegating, scores=inner("learner")),
    named(
        "a metric as loss",
        "habits",
        Forecaster,
        batches=forecasts,
        modalities={name: f"0.{path}" for name, path in MODALITIES.items()},
        scores=lambda module, batch: module.net(batch[0]["image"], batch[0]["text"]),
        target=lambda batch: batch[1][0],
        task="regression",
    ),
    named(
        "three modalities in a dataclass",
        "habits",
        ThreeModalities,
        batches=samples,
        modalities={"image": "image", "text": "text", "table": "table"},
        scores=lambda module, batch: module(batch),
        target=lambda batch: batch.extra["label"],
    ),
]
