"""A user's program with types: ``pyright`` and ``mypy --strict`` find nothing to say about it. It is not run."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassF1Score
from torchmetrics.functional.classification import multiclass_accuracy

from mviz_lightning import (
    CollapseWarning,
    ConfigurationError,
    Modality,
    MonitorWarning,
    MultimodalMonitor,
    ShareReport,
    UnimodalCollapse,
    explain,
)
from mviz_lightning.batch import Segments
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.functional import design, perceptual_score, prediction_flips, unimodal_contribution
from mviz_lightning.kinds import ModalityType, blocks
from mviz_lightning.metrics import ContributionShares, EMAPGap, PerceptualScore, PredictionFlips, default_score
from mviz_lightning.testing import Additive, MemorySink


class Fusion(LightningModule):
    """Two encoders and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(8, 4), nn.Linear(6, 4), nn.Linear(8, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Return ``(B, 3)`` logits."""
        logits: Tensor = self.head(torch.cat([self.image(image), self.text(text)], 1))
        return logits


class Points(ModalityType):
    """A type of modality of one's own."""

    name = "points"

    def cut(self) -> Segments:
        """Return runs of neighbours."""
        index: Tensor = blocks(self.values.shape[1], self.modality.max_segments)
        return Segments(self.path, index[None, :, None])

    def draw(self, axes: Any, example: int) -> None:
        """Draw nothing."""

    def paint(self, axes: Any, example: int, weights: Any, colours: Any, *, inputs: bool = True) -> None:
        """Draw nothing."""


def callbacks() -> tuple[MultimodalMonitor, UnimodalCollapse]:
    """Return the two callbacks, with every explainer."""
    monitor = MultimodalMonitor(
        modalities={"image": "pixel_values", "text": Modality("input_ids", mask="attention_mask", max_segments=16)},
        target="labels",
        task="multiclass",
        score=MulticlassF1Score(3),
        class_names=["a", "b", "c"],
        explainers=[
            DIME(num_examples=2),
            UnimodalImportance(method="occlusion"),
            CrossModalInteraction(segments={"text": ["red", 1]}, top_segments=3),
            MultimodalRepresentation(features=[0, 3]),
            MultimodalPrediction(),
            ErrorAnalysis(),
            ExampleRanking(),
        ],
    )
    return monitor, UnimodalCollapse("stop", expected=["image"])


def trained(loader: DataLoader[dict[str, Tensor]]) -> list[float]:
    """Train, and return the interaction at every validation."""
    monitor, alarm = callbacks()
    trainer = Trainer(max_epochs=1, callbacks=[monitor, alarm])
    try:
        trainer.fit(Fusion(), loader, loader)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error
    return [row.values["interaction"] for row in monitor.history]


def explained(batches: list[dict[str, Tensor]]) -> float:
    """Explain a model without a trainer."""
    report: ShareReport = explain(Fusion(), batches, modalities=["image", "text"], target="labels", explainers=[DIME()])
    values: dict[str, float] = dict(report.values)
    return values["interaction"] if str(report) else 0.0


def estimated(outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Use estimators and metrics alone."""
    grid = design(2, 16)
    flips = prediction_flips(outputs, grid, task="multiclass")
    lost = perceptual_score(
        outputs, target, grid, task="multiclass", score=lambda preds, truth: multiclass_accuracy(preds, truth, 3)
    )
    names = ["image", "text"]
    metric = ContributionShares(names, task="multiclass")
    metric.update(outputs)
    score = default_score("multiclass", 3)
    others = [EMAPGap(names, task="multiclass", score=score), PerceptualScore(names, task="multiclass", score=score)]
    for other in others:
        other.update(outputs, target)
    PredictionFlips(names, task="multiclass").update(outputs)
    contribution = unimodal_contribution(outputs.view(-1, 16, 16, 3))
    return metric.compute() | {"flips": flips, "perceptual": lost, "uc": contribution}


WARNINGS: list[type[Warning]] = [MonitorWarning, CollapseWarning]
MODEL, SINK = Additive([8, 6]), MemorySink()
