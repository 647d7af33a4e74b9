"""The monitor's outputs are compared with the user's own at every validation, and nothing of that stays."""

import copy
import random
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torchmetrics
from helpers.few import few
from helpers.toy import MODALITIES, SMALL, Toy, loader, trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn

from mviz_lightning import MultimodalMonitor

COST = ("seconds", "rows", "overhead")


def watch(**settings: Any) -> MultimodalMonitor:
    """Return a monitor that is told nothing but the modalities."""
    return MultimodalMonitor(MODALITIES, **SMALL | settings)


def trained(folder: Any, module: LightningModule, *callbacks: Any, **settings: Any) -> LightningModule:
    torch.manual_seed(0)
    trainer(folder, *callbacks, **{"max_epochs": 3} | settings).fit(module, loader(shuffle=True), loader(seed=1))
    return module


def shares(values: dict[str, float]) -> dict[str, float]:
    """Return what was measured, without its cost and without what observing adds."""
    added = (*COST, "agreement")
    return {key: value for key, value in values.items() if key not in added}


class Scheduled(Toy):
    """Multiplies the text by a number that a schedule changes."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = 1.0

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        return super().forward(image, text * self.alpha)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.scores(image, text)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(*batch[:2]), batch[2])

    def on_train_epoch_end(self) -> None:
        self.alpha = 1.0 + self.current_epoch


class Constant(Scheduled):
    """Passes the number to forward."""

    def forward(self, image: Tensor, text: Tensor, alpha: float) -> Tensor:
        return Toy.forward(self, image, text * alpha)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(*batch[:2], self.alpha), batch[2])


class Frozen(Constant):
    """Passes a number to forward that no attribute holds."""

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(*batch[:2], 1.5 + 0.5 * self.current_epoch), batch[2])

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        return Toy.forward(self, image, text * (1.5 + 0.5 * self.current_epoch))


class Reassigned(Constant):
    """Passes a tensor that is another one after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = torch.tensor([1.0, 1.0, 1.0])

    def on_train_epoch_end(self) -> None:
        self.alpha = self.alpha.clone() * torch.tensor([2.0, 0.5, 1.0])


class Switched(Toy):
    """Calls another net after the first epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Toy(), Toy()

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        net = self.first if self.current_epoch == 0 else self.second
        return net(image, text)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.scores(*batch[:2]), batch[2])


class Twice(Toy):
    """Calls its forward twice, first on other inputs."""

    def loss(self, batch: Any) -> Tensor:
        baseline = self(0 * batch[0], batch[1]).mean().detach()
        return nn.functional.cross_entropy(self(*batch[:2]), batch[2]) + 0 * baseline

    def scores(self, image: Tensor, text: Tensor) -> Tensor:
        return self(image, text)


FOLLOWED = {kind.__name__: kind for kind in (Scheduled, Constant, Frozen, Reassigned, Switched, Twice)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", few(FOLLOWED.values()), ids=FOLLOWED)
def test_a_step_that_a_schedule_changes_is_followed(tmp_path, kind):
    told = watch(
        target="2", task="multiclass", predict=lambda module, batch: module.scores(*batch[:2]), name="told", reuse=False
    )
    observing = watch(on_error="raise")
    trained(tmp_path, kind(), observing, told)

    assert len(observing.history) == 3
    for found, expected in zip(observing.history, told.history, strict=True):
        assert shares(found.values) == pytest.approx(shares(expected.values), abs=1e-5)
        assert found.values["agreement"] == 1.0
    noted = ["in another way than before" in row.note for row in observing.history]
    assert noted[1] is (kind in (Frozen, Switched))


class Sampling(Toy):
    """Samples from the second epoch on, what no seed repeats."""

    def loss(self, batch: Any) -> Tensor:
        scores = self(*batch[:2])
        drawn = [[random.SystemRandom().gauss(0, 1) for _ in row] for row in scores]
        noise = torch.tensor(drawn) if self.current_epoch > 0 else 0.0
        return nn.functional.cross_entropy(scores + noise, batch[2])


CALLS: list[int] = []


class Drifting(Toy):
    """Changes its scores from call to call by what lies outside of the model, from the second epoch on."""

    def loss(self, batch: Any) -> Tensor:
        CALLS.append(self.current_epoch)
        drift = sum(CALLS) * torch.arange(len(batch[0])).unsqueeze(1) % 7 - 3
        return nn.functional.cross_entropy(self(*batch[:2]) * (1.0 if self.current_epoch == 0 else drift), batch[2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mviz_lightning.errors.MonitorWarning")
@pytest.mark.parametrize("on_error", few(["warn", "raise"]))
@pytest.mark.parametrize("kind", [Sampling, Drifting])
def test_shares_are_withheld_where_the_step_cannot_be_followed(tmp_path, kind, on_error, recwarn):
    CALLS.clear()
    observing, seen = watch(on_error=on_error), Monitored()
    stop = EarlyStopping("mviz/total/image", mode="max", patience=9)
    best = ModelCheckpoint(tmp_path / "kept", monitor="mviz/total/image", mode="max")
    trained(tmp_path, kind(), observing, seen, stop, best, enable_checkpointing=True)

    first, *withheld = observing.history
    assert first.values["agreement"] == 1.0
    assert [row.values for row in withheld] == [{}, {}]
    assert all("predictions and the monitor's agree in" in row.note for row in withheld)
    told = {str(one.message) for one in recwarn if "agree in" in str(one.message)}
    assert told
    assert all("% of" in message for message in told)
    assert seen.values == pytest.approx([first.values["total/image"]] * 3)


class Monitored(Callback):
    """Keeps what callbacks see after each validation."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.values.append(float(trainer.callback_metrics["mviz/total/image"]))


@pytest.mark.slow
def test_what_disagrees_is_logged_where_that_is_asked_for(tmp_path):
    observing = watch(on_error="raise", on_disagreement="log")
    trained(tmp_path, Sampling(), observing)

    assert [len(row.values) > 5 for row in observing.history] == [True, True, True]
    assert observing.history[0].values["agreement"] == 1.0
    assert all(row.values["agreement"] < 1 for row in observing.history[1:])
    assert "agree in" in observing.history[1].note


class Manual(Toy):
    """Steps its own optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, _: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


class Early(Toy):
    """Returns at once in the sanity check."""

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        if not self.trainer.sanity_checking:
            super().validation_step(batch, _, dataloader_idx)


class Metered(Toy):
    """Updates a metric, and draws random numbers that the training reads."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, _, dataloader_idx)
        self.accuracy(self(*batch[:2]) + 0 * torch.rand(1), batch[2])
        self.log("accuracy", self.accuracy, add_dataloader_idx=dataloader_idx > 0)


class Failing(Toy):
    """Fails in the second validation."""

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, _, dataloader_idx)
        if self.current_epoch == 1:
            raise RuntimeError("the step's own")


class Failed(Toy):
    """Fails in the sanity check."""

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, _, dataloader_idx)
        raise RuntimeError("the step's own")


class Held(Callback):
    """Keeps what stands on the modules after every batch, and when the training fails."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.found.append(held(pl_module))

    def on_exception(self, trainer: Any, pl_module: Any, exception: Any) -> None:
        self.found.append(held(pl_module))


def held(module: nn.Module) -> Any:
    """Return the names of all attributes, and the number of hooks, of every submodule and of all modules together."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    everywhere = [len(getattr(torch.nn.modules.module, f"_global{name}")) for name in hooks]
    inside = {
        name: (sorted(set(vars(child)) - {"_compiler_ctx"}), [len(getattr(child, hook)) for hook in hooks])
        for name, child in module.named_modules()
    }
    return everywhere, inside


VARIANTS: dict[str, tuple[type[Toy], dict[str, Any]]] = {
    "plain": (Toy, {}),
    "a metric": (Metered, {}),
    "no sanity check": (Metered, {"num_sanity_val_steps": 0}),
    "limited": (Metered, {"limit_val_batches": 1}),
    "two loaders": (Metered, {"loaders": 2}),
    "early": (Early, {}),
    "manual": (Manual, {}),
    "bf16": (Metered, {"precision": "bf16-mixed"}),
    "compiled": (Metered, {"compiled": True}),
    "fails": (Failing, {}),
    "fails in the sanity check": (Failed, {}),
}


def left(folder: Any, kind: type[Toy], callbacks: Any, loaders: int = 1, *, compiled: bool = False, **more: Any) -> Any:
    """Return what a training leaves: its weights, random state, logged values, and what stood on the modules."""
    torch.manual_seed(0)
    module, seen = kind(), Held()
    if compiled:
        module.compile(backend="eager")
    chosen = trainer(folder, *callbacks, seen, max_epochs=2, **more)
    validation = [loader(seed=1 + number) for number in range(loaders)]
    fails = kind in (Failing, Failed)
    with pytest.raises(RuntimeError, match="the step's own") if fails else nullcontext():
        chosen.fit(module, loader(shuffle=True), validation if loaders > 1 else validation[0])
    logged = {key: float(value) for key, value in chosen.callback_metrics.items() if not key.startswith("mviz/")}
    return copy.deepcopy(module.state_dict()), torch.get_rng_state(), logged, seen.found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), few(VARIANTS.values(), 3), ids=VARIANTS)
def test_a_training_goes_the_same_way_and_nothing_stays_on_the_model(tmp_path, kind, settings):
    observing = watch(on_error="raise")
    alone = left(tmp_path / "alone", kind, [], **settings)
    observed = left(tmp_path / "observed", kind, [observing], **settings)

    for expected, found in zip(alone[0].items(), observed[0].items(), strict=True):
        assert expected[0] == found[0]
        assert torch.equal(expected[1], found[1])
    assert torch.equal(alone[1], observed[1])
    assert alone[2] == observed[2]
    assert alone[3] == observed[3]
    expected_runs = {Failing: 1, Failed: 0}.get(kind, 2)
    assert [row.values["agreement"] for row in observing.history] == [1.0] * expected_runs
    assert all("score" in row.values for row in observing.history)


@pytest.mark.parametrize("phase", ["validate", "test"])
def test_the_step_of_a_validation_or_a_test_alone_is_observed(tmp_path, phase):
    class Tested(Toy):
        def test_step(self, batch: Any, _: int) -> None:
            self.log("test_loss", nn.functional.cross_entropy(2 * self(*batch[:2])[:, :2], batch[2].clamp(max=1)))

    observing, alone, seen = watch(on_error="raise"), Held(), Held()
    getattr(trainer(tmp_path, alone), phase)(Tested(), loader(seed=1), verbose=False)
    getattr(trainer(tmp_path, observing, seen), phase)(Tested(), loader(seed=1), verbose=False)

    assert seen.found == alone.found
    (row,) = observing.history
    assert (row.phase, row.values["agreement"]) == (phase, 1.0)
    assert observing._run.session.probe is not None
    count = 3 if phase == "validate" else 2
    assert observing._run.session._tried.outputs == count
    assert int(observing._run.session.probe.labels.max()) == count - 1


class First(Toy):
    """Computes other scores in the first batch of later validations than in the others."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        size = -1 if batch_idx == 0 and self.current_epoch == 1 and not LATER else 1
        LATER.append(size) if size < 0 else None
        self.log("val_loss", nn.functional.cross_entropy(self(size * batch[0], batch[1]), batch[2]))


LATER: list[int] = []


@pytest.mark.filterwarnings("ignore::mviz_lightning.errors.MonitorWarning")
def test_where_a_replay_agrees_the_figure_of_the_real_batch_is_reported(tmp_path):
    LATER.clear()
    observing = watch(on_error="raise")
    trained(tmp_path, First(), observing)

    notes = [row.note for row in observing.history]
    assert [bool(row.values) for row in observing.history] == [True, False, True]
    assert "of 8 examples" in notes[1]
    assert "agree in 100%" not in notes[1]
