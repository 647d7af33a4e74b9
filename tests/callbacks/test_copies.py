"""Both callbacks can be copied and pickled, before a fit and after it, and a copy works as the original does."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.few import few
from helpers.toy import Toy, fit, loader, monitor, trainer
from lightning.pytorch import Callback

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.actions import EncoderLearningRate
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

pytestmark = pytest.mark.usefixtures("blank_pictures")

Copy = Callable[[Any], Any]
COPIES = {"pickle": lambda callback: pickle.loads(pickle.dumps(callback)), "deepcopy": copy.deepcopy}  # noqa: S301
COPIES |= {"copy": copy.copy}


def watching() -> MultimodalMonitor:
    return monitor(explainers=[DIME(num_examples=1), MultimodalRepresentation()])


def act(trainer: Any, module: Any, verdict: Any) -> None:
    """Do nothing at an alarm."""


COST = ("seconds", "overhead")


def curve(watch: MultimodalMonitor) -> list[dict[str, float]]:
    return [{name: value for name, value in row.values.items() if name not in COST} for row in watch.history]


@pytest.mark.slow
@pytest.mark.parametrize("copied", few(COPIES.values()), ids=COPIES)
@pytest.mark.parametrize("fitted", [False, True])
def test_copies_work_as_the_originals_do(tmp_path: Any, copied: Copy, *, fitted: bool) -> None:
    watch, alarm = watching(), UnimodalCollapse(act)
    if fitted:
        fit(tmp_path, watch, alarm)
    second, other = copied(watch), copied(alarm)
    assert list(second.history) == list(watch.history)
    assert str(second.history) == str(watch.history)
    assert str(second.state_dict()) == str(watch.state_dict())
    assert (other.rule, other.action, other.verdicts) == (alarm.rule, act, alarm.verdicts)

    fit(tmp_path, second, other)
    fit(tmp_path, watch, alarm)
    assert curve(second) == curve(watch)
    assert len(second.history) == 2
    assert other.verdicts.keys() == alarm.verdicts.keys() == {"image", "text"}


@pytest.mark.slow
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_that_is_fitted_leaves_the_original_as_it_was(tmp_path: Any, copied: Copy) -> None:
    watch, alarm = watching(), UnimodalCollapse()
    fit(tmp_path, watch, alarm)
    before, verdicts = str(watch.state_dict()), dict(alarm.verdicts)
    second, other = copied(watch), copied(alarm)
    fit(tmp_path, second, other, max_epochs=1)
    assert [len(watch.history), len(second.history)] == [2, 1]
    assert str(watch.state_dict()) == before
    assert alarm.verdicts == verdicts


def test_a_copy_holds_neither_the_model_nor_the_trainer(tmp_path: Any) -> None:
    watch, alarm = monitor(), UnimodalCollapse()
    chosen = fit(tmp_path, watch, alarm)
    chosen.lightning_module.stranger = lambda: None  # a model that cannot be pickled
    assert len(pickle.dumps([watch, alarm])) < 100_000
    assert {"log", "log_dict"} <= vars(watch).keys() & vars(alarm).keys()  # the model's, which Lightning hangs there


@pytest.mark.slow
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_goes_on_where_a_checkpoint_was_written(tmp_path: Any, copied: Copy) -> None:
    first = watching()
    fit(tmp_path, first).save_checkpoint(tmp_path / "first.ckpt")
    second = copied(first)
    torch.manual_seed(0)
    chosen = trainer(tmp_path, second, max_epochs=3)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=1), ckpt_path=tmp_path / "first.ckpt")
    assert [row.epoch for row in second.history] == [0, 1, 2]
    assert curve(second)[:2] == curve(first)
    assert not any("anew" in row.note for row in second.history)


def test_copies_of_callbacks_that_watch_one_another_stay_together(tmp_path: Any) -> None:
    watch, alarm = monitor(), UnimodalCollapse()
    fit(tmp_path, watch, alarm)
    second, other = copy.deepcopy([watch, alarm])
    fit(tmp_path, other, second)
    assert second._run.alarm is other
    assert "collapse/image" in second.history[-1].values


class Within(Callback):
    """Copies callbacks in every hook, as a tuner or a sweep may, and loads their state as every resume does."""

    def __init__(self, *watched: Any) -> None:
        self.watched, self.hooks = watched, set[str]()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("on_") and name not in ("on_save_checkpoint", "on_load_checkpoint"):
            self.hooks.add(name)
            for one in self.watched:
                pickle.dumps(one)
                copy.deepcopy(one)
                file = io.BytesIO()
                torch.save(one.state_dict(), file)
                file.seek(0)
                torch.load(file, weights_only=True)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_callbacks_can_be_copied_within_a_fit(tmp_path: Any, *, first: bool) -> None:
    methods = [DIME(num_examples=1), ErrorAnalysis(), MultimodalRepresentation(), MultimodalPrediction(num_examples=1)]
    methods += [CrossModalInteraction(num_examples=1), UnimodalImportance(num_examples=1), ExampleRanking()]
    watch, alarm = monitor(explainers=methods, by_class=True), UnimodalCollapse(["stop", EncoderLearningRate()])
    within = Within(watch, alarm)
    fit(tmp_path, *([within, watch, alarm] if first else [watch, alarm, within]), max_epochs=1)
    assert {
        "on_validation_batch_start",
        "on_validation_batch_end",
        "on_validation_epoch_end",
        "on_fit_end",
    } <= within.hooks
    assert watch.history[-1].values
