"""Imitations of how public packages arrange their modules."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, SIZE, Net, User, leaf, named, tuples
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy


class Task(LightningModule):
    """A base class without forward: it has a model, losses by name, metrics, and one step for all stages."""

    def __init__(self, model: nn.Module, losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]]) -> None:
        super().__init__()
        self.model, self.losses = model, dict(losses)
        self.metrics = nn.ModuleDict({"accuracy": MulticlassAccuracy(CLASSES)})

    def inputs(self, batch: Any) -> Any:
        return batch["image"], batch["text"]

    def common_step(self, batch: Any, stage: str) -> dict[str, Any]:
        outputs = self.model(*self.inputs(batch))
        losses = {name: loss(outputs, batch["y"]) for name, loss in self.losses.items()}
        for name, metric in self.metrics.items():
            metric.update(outputs.detach().softmax(-1), batch["y"])
            self.log(f"{stage}_{name}", metric, batch_size=SIZE)
        return {"loss": sum(losses.values()), "logs": losses, "outputs": outputs}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.common_step(batch, "train")["loss"]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        found = self.common_step(batch, "val")
        self.log_dict({f"val_{name}": loss for name, loss in found["logs"].items()}, batch_size=SIZE)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.05)


def task() -> Task:
    margin = nn.MultiMarginLoss()
    return Task(Net(), {"cross_entropy": functional.cross_entropy, "margin": margin})


@dataclass
class PlannedLoss:
    """One loss of a planner: from which output to which label, how heavy, and from which epoch on."""

    output: str
    label: str
    loss: Callable[[Tensor, Tensor], Tensor]
    weight: float = 1.0
    first_epoch: int = 0


class Planner(User):
    """A dict of losses by name, called in a loop over what the model returns."""

    def __init__(self):
        super().__init__()
        self.word = nn.Linear(8, 4)
        self.plan = {
            "class": PlannedLoss("class", "y", nn.CrossEntropyLoss(label_smoothing=0.1)),
            "early": PlannedLoss("class", "y", nn.MultiMarginLoss(), 0.2, first_epoch=1),
        }

    def forward(self, batch):
        features = self.net.features(batch["image"], batch["text"])
        return {"features": features, "word": self.word(features), "class": self.net.head(features)}

    def due(self) -> Iterator[tuple[str, PlannedLoss]]:
        return ((name, part) for name, part in self.plan.items() if part.first_epoch <= self.current_epoch)

    def step(self, batch):
        outputs = self(batch)
        parts = {name: part.weight * part.loss(outputs[part.output], batch[part.label]) for name, part in self.due()}
        return sum(parts.values())


class Fusion(nn.Module):
    """Encoders in a list, a fusion and a head, called with a list of inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            [
                nn.Sequential(nn.Flatten(), nn.Linear(48, 8)),
                nn.Sequential(nn.Embedding(20, 8), nn.AvgPool2d((5, 1)), nn.Flatten()),
            ]
        )
        self.head = nn.Sequential(nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    def forward(self, inputs: list[Tensor]) -> Tensor:
        first, second = (encoder(x) for encoder, x in zip(self.encoders, inputs, strict=True))
        return self.head(torch.cat([first, second, first * second], 1))


class ListBatch(User):
    """The batch is a list with the labels last."""

    def __init__(self):
        super().__init__()
        self.model = Fusion()

    def step(self, batch):
        return functional.cross_entropy(
            self.model([part.float() if part.is_floating_point() else part for part in batch[:-1]]), batch[-1].squeeze()
        )


class Prefixed(User):
    """Outputs by the model's name, one entry for each branch; the fused branch has its loss last."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Linear(48, CLASSES)

    def forward(self, batch):
        return {
            "image_model": {"logits": self.branch(batch["image"].flatten(1)), "weight": 0.1},
            "fusion_model": {"logits": self.net(batch["image"], batch["text"]), "weight": 1.0},
        }

    def step(self, batch):
        return sum(
            part["weight"] * functional.cross_entropy(part["logits"], batch["y"]) for part in self(batch).values()
        )


CASES: list[Case] = [
    named("a base class without forward", "habits", task, scores=lambda m, b: m.model(b["image"], b["text"])),
    named("a planner of losses", "habits", Planner),
    Case(
        "a list with the labels last",
        "habits",
        ListBatch,
        lambda: [list(batch) for batch in tuples()],
        {"image": "0", "text": "1"},
        lambda module, batch: module.model(batch[:2]),
        leaf(2),
        "multiclass",
    ),
    named("branches by name", "habits", Prefixed, others=1),
]
