"""One late-fusion model for all tasks of the benchmark, and the ways in which a modality is lost on it."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from data import Data, load
from lightning.pytorch import LightningModule
from recipes import MISFED, PRETRAINED, RunSpec
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning.functional import Task

WIDTH = 48
TEXT_LENGTH = 8


class Words(nn.Module):
    """The mean embedding of a text's tokens; 0 is padding."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH, padding_idx=0)

    def forward(self, tokens: Tensor) -> Tensor:
        words: Tensor = self.embedding(tokens)
        return words.sum(1) / (tokens != 0).sum(1, keepdim=True).clamp(min=1)


def encoder(values: Tensor) -> nn.Module:
    """Return an encoder to ``(B, WIDTH)`` for a column of the data."""
    if not values.is_floating_point():
        return nn.Sequential(Words(int(values.max()) + 1), nn.Linear(WIDTH, WIDTH))
    if values.dim() == 2:
        return nn.Sequential(nn.Linear(values.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
    layers: list[nn.Module] = []
    for inputs, outputs in ((values.shape[1], 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(288, WIDTH))


def pretrain(part: nn.Module, data: Data, name: str, epochs: int = 8) -> None:
    """Train an encoder on the task alone, and freeze it."""
    head = nn.Linear(WIDTH, data.outputs)
    optimizer = torch.optim.AdamW([*part.parameters(), *head.parameters()], 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.train["label"])).split(64):
            loss = task_loss(data.task, head(part(data.train[name][rows]).relu()), data.train["label"][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    part.requires_grad_(False)


def task_loss(task: Task, outputs: Tensor, label: Tensor) -> Tensor:
    """Return the loss that fits a task."""
    if task == "multiclass":
        return functional.cross_entropy(outputs, label)
    if task == "regression":
        return functional.mse_loss(outputs.squeeze(1), label)
    return functional.binary_cross_entropy_with_logits(outputs, label.view_as(outputs))


class LateFusion(LightningModule):
    """An encoder for each modality, then a linear layer or an MLP on all of them.

    Args:
        spec: Says recipe and fusion.
        data: Says shapes and task.

    Attributes:
        modality_dropout: Probability that a training example loses one of its modalities; may be changed at any time.
    """

    def __init__(self, spec: RunSpec, data: Data) -> None:
        super().__init__()
        self.spec, self.task, self.names = spec, data.task, data.modalities
        self.encoders = nn.ModuleDict({name: encoder(data.train[name]) for name in self.names})
        width = WIDTH * len(self.names)
        hidden = [nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, data.outputs)]
        self.fusion = nn.Linear(width, data.outputs) if spec.fusion == "linear" else nn.Sequential(*hidden)
        self.modality_dropout = spec.strength if spec.recipe == "dropout" else 0.0
        weak = self.encoders[spec.weak]
        if spec.recipe in (PRETRAINED, MISFED):
            pretrain(weak, load(replace(spec, recipe="plain")), spec.weak)
        if spec.recipe == "dead":
            nn.init.constant_(weak[-1].bias, spec.strength or -100.0)  # type: ignore[index,union-attr]
        if spec.recipe == "frozen":
            weak.requires_grad_(False)
            nn.init.normal_(weak[-1].weight, std=spec.strength or 1e-3)  # type: ignore[index,union-attr]

    def features(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return ``(B, M, WIDTH)``."""
        encoded = torch.stack([self.encoders[name](batch[name]).relu() for name in self.names], 1)
        late = self.spec.recipe == "late" and self.current_epoch < self.spec.strength * self.spec.epochs
        if late:
            encoded = encoded * torch.tensor([name != self.spec.weak for name in self.names]).view(1, -1, 1)
        if self.training and self.modality_dropout:
            lost = torch.randint(len(self.names), (len(encoded),))
            lost = lost.where(torch.rand(len(encoded)) < self.modality_dropout, -1)
            encoded = encoded * (torch.arange(len(self.names)) != lost[:, None]).unsqueeze(-1)
        return encoded

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = self.fusion(self.features(batch).flatten(1))
        return outputs

    def loss(self, outputs: Tensor, label: Tensor) -> Tensor:
        """Return the task's loss."""
        return task_loss(self.task, outputs, label)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        return self.loss(self(batch), batch["label"])

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.log("val_loss", self.loss(self(batch), batch["label"]), batch_size=len(batch["label"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        spec = self.spec
        groups = []
        for name, module in [*self.encoders.items(), ("", self.fusion)]:
            weak = name == spec.weak
            rate = spec.rate * (spec.strength if weak and spec.recipe == "lr" else 1.0)
            decay = spec.strength / spec.rate if weak and spec.recipe == "decay" else 1e-4
            groups.append({"params": list(module.parameters()), "lr": rate, "weight_decay": decay})
        return torch.optim.AdamW(groups)
