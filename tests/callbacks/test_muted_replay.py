"""A training whose validation step is called once more at each validation ends with the same bits as one without."""

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from helpers.delicate import same
from helpers.toy import Toy, examples, loader, trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.profilers import SimpleProfiler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from mviz_lightning.engine.muted_step import StopStep, call_step, muted


class Curve:
    """A plain object that the training reads."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.running = torch.zeros(())

    def update(self, loss: Tensor) -> None:
        self.values.append(float(loss))
        self.running += loss.detach()


class Careful(LightningModule):
    """Does in its validation step all that a second call would disturb."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.image = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.text = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.head = nn.Linear(8, 3)
        self.average = [parameter.detach().clone() for parameter in self.head.parameters()]
        self.register_buffer("forwards", torch.zeros(()))
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)
        self.metrics = {"plain": torchmetrics.MeanMetric()}
        self.curve = Curve()
        self.noise: list[float] = []

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        self.forwards += 1
        return self.head(self.image(image) + self.text(text)) * (1 + 1e-6 * self.forwards)

    def training_step(self, batch: Any, _: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(*batch[:2]), batch[2])
        state = self.curve.running + self.metrics["plain"].compute() if self.curve.values else 0.0
        return loss * (1 + 1e-3 * torch.rand(())) + 1e-3 * state * self.head.weight.square().sum()

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        image, text, label = batch
        self.noise.append(random.random() + np.random.normal())
        tensorboard = self.loggers[0]
        assert isinstance(tensorboard, TensorBoardLogger)
        assert isinstance(tensorboard.experiment, SummaryWriter)
        tensorboard.experiment.add_scalar("before", len(self.noise), len(self.noise))
        self.logger.log_metrics({"direct": 1.0})
        self.trainer.callback_metrics["mine"] = torch.tensor(float(len(self.noise)))
        self.print("in the step")
        kept = [parameter.detach().clone() for parameter in self.head.parameters()]
        for parameter, average in zip(self.head.parameters(), self.average, strict=True):
            average.lerp_(parameter.detach(), 0.1)
            parameter.data.copy_(average)
        outputs = self(image, text)
        loss = nn.functional.cross_entropy(outputs, label)
        for parameter, own in zip(self.head.parameters(), kept, strict=True):
            parameter.data.copy_(own)
        self.accuracy(outputs, label)
        self.metrics["plain"].update(loss)
        self.curve.update(loss)
        self.log("val_loss", loss, batch_size=len(label))
        self.log("val_accuracy", self.accuracy, batch_size=len(label))
        with (self.folder / "after").open("a") as file:
            file.write("x")
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Replaying(Callback):
    """Calls the step again on each batch and at the end of each validation, to its end or to its loss."""

    def __init__(self, *, stop: bool) -> None:
        self.stop, self.outputs, self.batch = stop, [], None

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.batch = batch
        self.outputs.append(self.replay(module))

    def on_validation_epoch_end(self, trainer, module):
        self.outputs.append(self.replay(module))

    def replay(self, module):
        with pytest.MonkeyPatch.context() as patch, muted(module) as guard:
            if self.stop:
                patch.setattr(nn.functional, "cross_entropy", self.stopping)
            found = call_step(module, "validation_step", self.batch)
        assert guard.written == ["head.weight", "head.bias"]
        return found

    def stopping(self, logits, label):
        raise StopStep


class Plain(Replaying):
    """Calls the step again without muting."""

    def replay(self, module):
        with torch.no_grad():
            module.validation_step(self.batch, 0)


def train(folder: Path, *callbacks: Any) -> dict[str, Any]:
    """Train and return all that must not depend on replays."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    module = Careful(folder)
    shuffling = torch.Generator().manual_seed(1)
    loaders = (
        DataLoader(examples(48), batch_size=8, shuffle=True, generator=shuffling),
        DataLoader(examples(24, seed=1), batch_size=8),
    )
    loggers = [TensorBoardLogger(folder, name="board", version=0), CSVLogger(folder, name="csv", version=0)]
    chosen = trainer(folder, *callbacks, max_epochs=3, accumulate_grad_batches=2, val_check_interval=3, logger=loggers)
    chosen.fit(module, *loaders)
    assert chosen.loggers == loggers
    events = EventAccumulator(str(folder / "board" / "version_0")).Reload()
    return {
        "weights": module.state_dict(),
        "average": module.average,
        "optimizer": chosen.optimizers[0].state_dict(),
        "random": [random.getstate(), np.random.get_state()[1], torch.get_rng_state(), shuffling.get_state()],
        "curve": [module.curve.values, module.curve.running, module.noise],
        "metric": module.metrics["plain"].metric_state,
        "logged": [chosen.callback_metrics, chosen.logged_metrics, chosen.progress_bar_metrics],
        "tensorboard": {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]},
        "csv": (folder / "csv" / "version_0" / "metrics.csv").read_text(),
        "modes": [child.training for child in module.modules()],
        "attributes": [sorted(vars(child)) for child in module.modules()],
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("stop", [False, True], ids=["to its end", "to its loss"])
def test_a_training_with_replays_is_bit_identical(tmp_path, alone, capsys, stop):
    capsys.readouterr()
    replaying = Replaying(stop=stop)
    replayed = train(tmp_path, replaying)
    assert {what: same(alone[what], replayed[what]) for what in alone} == dict.fromkeys(alone, True)
    assert len(replaying.outputs) == 27
    assert {found is None for found in replaying.outputs} == {stop}
    # Six validations and the sanity check, of three batches, of two; the step prints once for each.
    assert capsys.readouterr().out.count("in the step") == 20
    assert len((tmp_path / "after").read_text()) == (20 if stop else 47)


def test_a_training_with_replays_that_are_not_muted_differs_in_everything(tmp_path, alone):
    replayed = train(tmp_path, Plain(stop=False))
    assert {what for what in alone if same(alone[what], replayed[what])} <= {"modes", "attributes"}


class Reaching(Toy):
    """Keeps its ``log`` and has a scheduler of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.record = self.log

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


def profiled(module: Reaching) -> None:
    with module.trainer.profiler.profile("of the step"):
        pass


REACHES = {
    "a log that was kept": lambda module: module.record("kept", 1.0, batch_size=1),
    "the end of the training": lambda module: setattr(module.trainer, "should_stop", True),
    "an attribute of the trainer": lambda module: setattr(module.trainer, "late", 1),
    "the callbacks": lambda module: module.trainer.callbacks.append(Callback()),
    "a learning rate": lambda module: module.optimizers().param_groups[0].update(lr=1.0),
    "a scheduler": lambda module: module.lr_schedulers().step(),
    "averages of the optimizer": lambda module: [
        state["exp_avg"].mul_(2) for state in module.optimizers().state.values()
    ],
    "the profiler": profiled,
    "metrics of the progress bar": lambda module: module.trainer.progress_bar_metrics.update(late=1.0),
}


class Reach(Callback):
    """Calls one step of the test's own after each batch of the validation, muted or not."""

    def __init__(self, act: Any, *, mute: bool = True) -> None:
        self.act, self.mute, self.calls = act, mute, 0

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        with muted(module) if self.mute else nullcontext():
            call_step(module, lambda module, _: self.act(module), batch)
            self.calls += 1


def reached(folder: Path, *callbacks: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    module = Reaching()
    chosen = trainer(folder, *callbacks, max_epochs=2, num_sanity_val_steps=0, profiler=SimpleProfiler())
    chosen.fit(module, loader(), loader(seed=1))
    return {
        "weights": module.state_dict(),
        "optimizer": chosen.optimizers[0].state_dict(),
        "scheduler": chosen.lr_scheduler_configs[0].scheduler.state_dict(),
        "logged": [chosen.callback_metrics, chosen.progress_bar_metrics],
        "trainer": sorted(vars(chosen)),
        "callbacks": [type(callback).__name__ for callback in chosen.callbacks if type(callback) is not Reach],
        "stop": chosen.should_stop,
        "steps": chosen.global_step,
        "profiled": sorted(name for name in chosen.profiler.recorded_durations if "Reach." not in name),
    }


every_reach = pytest.mark.parametrize("act", REACHES.values(), ids=REACHES.keys())


@pytest.fixture(scope="module")
def unreached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return reached(tmp_path_factory.mktemp("unreached"))


@every_reach
def test_what_a_step_reaches_through_its_trainer_is_put_back(tmp_path, unreached, act):
    callback = Reach(act)
    assert same(reached(tmp_path, callback), unreached)
    assert callback.calls == 8


@every_reach
def test_what_a_step_reaches_through_its_trainer_would_be_changed(tmp_path, unreached, act):
    assert not same(reached(tmp_path, Reach(act, mute=False)), unreached)
