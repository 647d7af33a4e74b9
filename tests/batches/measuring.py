"""What the public API finds in batches of a kind."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from batches.kind import Kind
from batches.kinds import KINDS
from batches.plain import network
from batches.twins import TWINS
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy

from mviz_lightning import MultimodalMonitor, explain
from mviz_lightning.explainers import DIME

SMALL = {"num_examples": 32, "group_size": 8}


class Model(LightningModule):
    """The network behind the step of a kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind, self.net = kind, network()

    def forward(self, batch: Any) -> Tensor:
        return self.kind.scores(self.net, batch)

    def validation_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return cross_entropy(self(batch), self.kind.labels(batch))

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return self.validation_step(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Kept(DIME):
    """DIME that keeps what it found."""

    found = ()

    def draw(self, result: Any, drawing: Any, when: str) -> list[Any]:
        type(self).found = result.examples
        return []


@dataclass(frozen=True)
class Found:
    """The numbers of a measurement, and DIME's weights by name of the example, the output and the modality."""

    values: Mapping[str, float]
    weights: Mapping[tuple[int, int, str, str], Tensor]
    pictures: Any = None


def weights(explanations: Any) -> dict[tuple[int, int, str, str], Tensor]:
    return {
        (place, output.output, name, part): getattr(attribution, part)
        for place, explanation in enumerate(explanations)
        for output in explanation.outputs
        for name, attribution in output.parts.items()
        for part in ("unimodal", "interaction")
    }


def expected_warning(kind: Kind) -> AbstractContextManager[Any]:
    return pytest.warns(UserWarning, match=kind.warns) if kind.warns else nullcontext()


def measured(kind: Kind) -> Found:
    """Measure a kind with nothing told but where its modalities are."""
    with expected_warning(kind):
        return explained(kind) if kind.loader is None else validated(kind)


def explained(kind: Kind) -> Found:
    dime = DIME(num_examples=2, donors=3, masks=12)
    report = explain(
        Model(kind), list(kind.batches()), modalities=kind.modalities, step="validation_step", explainers=[dime],
        **SMALL,
    )  # fmt: skip
    return Found(report.values, weights(report.explanations["dime"]), report.pictures)


def validated(kind: Kind, folder: Path = Path("unwritten")) -> Found:
    dime = Kept(num_examples=2, donors=3, masks=12)
    monitor = MultimodalMonitor(kind.modalities, explainers=[dime], on_error="raise", reference=32, **SMALL)
    trainer(folder, monitor).validate(Model(kind), kind.loader(kind.rows()), verbose=False)
    return Found(monitor.history[-1].values, weights(Kept.found))


@cache
def twin(name: str) -> Found:
    return measured(TWINS[name])


@cache
def of_kind(name: str) -> Found:
    torch.manual_seed(0)
    return measured(KINDS[name])
