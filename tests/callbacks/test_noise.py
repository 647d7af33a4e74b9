"""Trainings of models that draw random numbers: measured, said, and not changed by one bit."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from helpers.few import few
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import Modality, MultimodalMonitor, explain
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.functional import design

COUNT = 48


class Noisy(LightningModule):
    """Two encoders whose outputs are added: no interaction at fixed noise. The kinds below say where noise enters."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 3)
        self.own = torch.Generator().manual_seed(4)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.image(image) + self.text(text))

    def scores(self, batch: Any) -> Tensor:
        return self(*batch[:2])

    def training_step(self, batch: Any, _: int) -> Tensor:
        return cross_entropy(self.scores(batch), batch[2])

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", cross_entropy(self.scores(batch), batch[2]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Variational(Noisy):
    """A reparameterised latent in the fusion and in one encoder, which is replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.image = Latent()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        latent = self.image(image) + self.text(text)
        return self.head(latent + 0.3 * torch.randn_like(latent))


class Latent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(4, 6)

    def forward(self, image: Tensor) -> Tensor:
        mean = self.mean(image)
        return mean + 0.5 * torch.randn_like(mean)


class MonteCarlo(Noisy):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(dropout(self.image(image) + self.text(text), 0.3, training=True))


class InTheStep(Noisy):
    def scores(self, batch: Any) -> Tensor:
        found = self(*batch[:2])
        return found + 0.5 * torch.randn(found.shape)


class OwnGenerator(Noisy):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        found = super().forward(image, text)
        return found + 0.5 * torch.randn(found.shape, generator=self.own)


class OfPython(Noisy):
    """Numbers for the whole batch from Python and NumPy."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return super().forward(image, text) * (1 + random.random()) + float(np.random.normal())


class FromTheSecondEpochOn(Noisy):
    """Says nothing of its noise before the training."""

    def scores(self, batch: Any) -> Tensor:
        found = self(*batch[:2])
        return found + (0.5 * torch.randn_like(found) if self.current_epoch > 0 else 0.0)


KINDS = [Variational, MonteCarlo, InTheStep, OwnGenerator, OfPython, FromTheSecondEpochOn]


def examples(seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(COUNT, 4, generator=generator), torch.randn(COUNT, 3, generator=generator)
    return TensorDataset(image, text, (image[:, 0] > 0).long() + (text[:, 0] > 0).long())


def trained(folder: Any, kind: type[Noisy], *callbacks: Any) -> tuple[Noisy, dict[str, Any]]:
    """Train, and return all that must not depend on who watches."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    module = kind()
    chosen = trainer(folder, *callbacks, max_epochs=2)
    chosen.fit(module, DataLoader(examples(0), 8, shuffle=True), DataLoader(examples(1), 16))
    logged = {key: float(value) for key, value in chosen.callback_metrics.items() if not key.startswith("mviz/")}
    weights = [weight.tolist() for weight in module.state_dict().values()]
    states = random.getstate(), torch.get_rng_state().tolist(), module.own.get_state().tolist()
    return module, {"weights": weights, "states": states, "numpy": np.random.get_state()[1].tolist(), "logged": logged}


def watch(**options: Any) -> MultimodalMonitor:
    return MultimodalMonitor({"image": "0", "text": "1"}, num_examples=32, group_size=8, **options)


@pytest.mark.parametrize("kind", few(KINDS, 2))
def test_a_model_that_samples_is_measured_and_trains_as_without_the_monitor(tmp_path, kind):
    alone = trained(tmp_path / "alone", kind)[1]
    observing = watch(on_error="raise")
    watched = trained(tmp_path / "watched", kind, observing)[1]
    assert watched == alone
    assert [round(row.values["interaction"], 6) for row in observing.history] == [0, 0]
    assert [row.values["agreement"] for row in observing.history] == [1, 1]
    notes = " ".join(row.note for row in observing.history)
    assert "the model draws random numbers: its outputs vary by" in notes
    assert "draws=8 averages over 8 draws" in notes


@pytest.mark.slow
def test_every_draw_counts_as_rows_and_the_history_names_them(tmp_path):
    observing, thrice = watch(on_error="raise"), watch(on_error="raise", draws=3)
    trained(tmp_path / "one", MonteCarlo, observing)
    trained(tmp_path / "three", MonteCarlo, thrice)
    assert [row.values["rows"] for row in thrice.history] == [3 * row.values["rows"] for row in observing.history]
    assert "they are averaged over 3 draws" in thrice.history[0].note


def test_a_budget_counts_every_draw():
    torch.manual_seed(0)
    batch = examples(0).tensors
    rows = len(design(2, 8).tuples)
    given = {"modalities": {"image": "0", "text": "1"}, "task": "multiclass", "group_size": 8, "num_examples": 48}
    report = explain(MonteCarlo(), [batch], draws=2, budget=2 * 3 * rows, **given)
    assert report.rows <= 2 * 3 * rows
    assert report.examples == 3 * 8


METHODS = [
    DIME(num_examples=1),
    UnimodalImportance(num_examples=1),
    CrossModalInteraction(num_examples=1, method="second_order"),
    MultimodalRepresentation(),
    MultimodalPrediction(num_examples=1),
    ErrorAnalysis(num_examples=1),
]


@pytest.mark.parametrize("draws", few([1, 2]))
def test_all_methods_explain_a_model_that_samples(draws):
    torch.manual_seed(0)
    named = {name: Modality(place, baseline="zero") for name, place in {"image": "0", "text": "1"}.items()}
    given = {"modalities": named, "target": "2", "group_size": 8, "num_examples": 32, "explainers": METHODS}
    report = explain(Variational(), [examples(0).tensors], draws=draws, **given)
    assert set(report.results) == {method.name for method in METHODS}
    outputs = [output for found in report.explanations["dime"] for output in found.outputs]
    assert outputs
    # Without interaction, MI is nothing but rounding.
    assert [round(output.interaction, 4) for output in outputs] == [0.0] * len(outputs)
