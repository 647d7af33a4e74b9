"""What a refusal costs: the monitor, with one warning, and the training only where a line to paste mends it."""

import random
import warnings
from typing import Any

import pytest
import torch
from helpers.batches import floats, integers
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import ConfigurationError, MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.errors import NotMeasurableError

pytestmark = pytest.mark.filterwarnings("ignore:Found `dataloader_iter` argument")
COUNT = 48
MODALITIES = {"image": "image", "text": "text"}


class Examples(Dataset):
    def __init__(self) -> None:
        self.image, self.text, self.y = floats(COUNT, 4), floats(COUNT, 3, seed=1), integers(3, COUNT, seed=2)

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {"image": self.image[place], "text": self.text[place], "y": self.y[place]}


class Model(LightningModule):
    """Fuses two encoders; what it scores and how it validates is replaced by the kinds below."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.image(image) + self.text(text)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self.image(batch["image"]) + self.text(batch["text"]), batch["y"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", cross_entropy(self(batch["image"], batch["text"]), batch["y"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class NeverTheSame(Model):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        noise = [[random.SystemRandom().uniform(0.2, 2)] for _ in image]
        return super().forward(image, text) * torch.tensor(noise)


class BatchStatistics(Model):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        found = super().forward(image, text)
        return nn.functional.batch_norm(found, None, None, training=True)


class ExampleByExample(Model):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pairs = zip(batch["image"], batch["text"], batch["y"], strict=True)
        losses = [cross_entropy(self(image[None], text[None]), y[None]) for image, text, y in pairs]
        self.log("loss", torch.stack(losses).mean())


class FetchesItself(Model):
    def validation_step(self, dataloader_iter: Any) -> None:
        batch, _, _ = next(dataloader_iter)
        self.log("loss", cross_entropy(self(batch["image"], batch["text"]), batch["y"]))


class Placeholders(Model):
    """A text holds a token that stands for a part of the image, as LLaVA's does, and is of no shape that is rebuilt."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {})()
        self.config.image_token_id = 7


class WithoutForward(Model):
    """Nothing returns scores: no loss is seen, and there is no forward."""

    forward = LightningModule.forward

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        return None


class Sharded(Model):
    """Trained with FSDP of the first generation, as the Trainer would say."""


KINDS: dict[type[Model], str] = {
    NeverTheSame: r"largest difference is \d",
    BatchStatistics: r"largest difference \d.* examples of a batch influence one another",
    ExampleByExample: "cross_entropy is called 8 times for a batch of 8 examples, example by example",
    FetchesItself: r"def validation_step\(self, batch, batch_idx\)",
    Placeholders: "placeholder token 7",
    WithoutForward: r"Add a method forward\(self, batch\)",
    Sharded: "FSDP2",
}
"""Model -> what the refusal names."""


class Tokens(Examples):
    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return super().__getitem__(place) | {"text": torch.tensor([[7, 1, 2]])}


def fitted(kind: type[Model], monitor: MultimodalMonitor | None, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    module = kind()
    validation = DataLoader(Tokens() if kind is Placeholders else Examples(), 8)
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[] if monitor is None else [monitor, UnimodalCollapse()],
    )  # fmt: skip
    trainer.fit(module, DataLoader(Examples(), 8), validation)
    assert trainer.global_step == 12
    return module


@pytest.fixture(autouse=True)
def fsdp_of_the_first_generation(request, monkeypatch):
    kind = getattr(request.node, "callspec", None) and request.node.callspec.params.get("kind")
    if kind is Placeholders:  # its own step is not what is refused
        monkeypatch.setattr(Placeholders, "validation_step", lambda self, batch, batch_idx: None)
    if kind is Sharded:
        strategy = type("FSDPStrategy", (), {})()
        original = trainer_facts.refuse_unsupported
        refuse = type("Facts", (), {"strategy": strategy})()
        monkeypatch.setattr(trainer_facts, "refuse_unsupported", lambda trainer: original(refuse))


def watching(**options: Any) -> MultimodalMonitor:
    return MultimodalMonitor(MODALITIES, num_examples=32, group_size=8, **options)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "needed"), KINDS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_measured_costs_the_monitor_and_one_warning(kind, needed):
    alone = fitted(kind, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor = watching()
        watched = fitted(kind, monitor)
    (said,) = [str(one.message) for one in caught if issubclass(one.category, MonitorWarning)]
    assert said.startswith("MultimodalMonitor: the monitor is off")
    with pytest.raises(AssertionError, match=needed):
        raise AssertionError(said)
    assert not any(row.values for row in monitor.history)
    assert all(map(torch.equal, alone.state_dict().values(), watched.state_dict().values()))


@pytest.mark.parametrize(("kind", "needed"), KINDS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_measured_ends_the_training_where_that_is_asked_for(kind, needed):
    with pytest.raises(NotMeasurableError, match=needed):
        fitted(kind, watching(on_error="raise"))


class Asking(Model):
    """Two outputs for one label: the message shows the line that says which one counts."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        image, text = self.image(batch["image"]), self.text(batch["text"])
        self.log("loss", cross_entropy(image + text, batch["y"]) + cross_entropy(image * text, batch["y"]))


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_what_a_line_to_paste_mends_ends_the_training_before_it_begins(on_error):
    with pytest.raises(ConfigurationError, match=r"\n    predict=lambda module, batch: ") as refused:
        fitted(Asking, watching(on_error=on_error))
    assert not isinstance(refused.value, NotMeasurableError)


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_a_wrong_argument_ends_the_training_before_it_begins(on_error):
    monitor = MultimodalMonitor({"image": "picture", "text": "text"}, on_error=on_error)
    with pytest.raises(ConfigurationError, match="no leaf 'picture' in the batch; leaves found: image"):
        fitted(Model, monitor)


def test_two_monitors_of_one_name_are_refused_with_a_name_to_paste():
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[watching()])
    trainer.callbacks.append(watching())  # at the beginning Lightning itself refuses them
    with pytest.raises(
        ConfigurationError, match=r"^2 monitors .* name='mviz' .* MultimodalMonitor\(\.\.\., name='mviz2'\)"
    ):
        trainer.fit(Model(), DataLoader(Examples(), 8), DataLoader(Examples(), 8))
