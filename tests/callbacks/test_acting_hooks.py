"""Whatever fails where the alarm acts: one warning, the training goes on, and what actions changed is undone."""

import inspect
from contextlib import contextmanager

import pytest
from helpers.collapsing import blank
from helpers.delicate import same
from helpers.few import spread
from helpers.planned import IN_ALARM, Planned, kept, planned
from helpers.spoil import Spoil
from helpers.unprintable import UNPRINTABLE, UnprintableError
from lightning.pytorch.callbacks import Callback

from mviz_lightning import MonitorWarning, UnimodalCollapse
from mviz_lightning.actions import Action, EncoderLearningRate, GradientModulation, ModalityDropout
from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.acting import Acting
from mviz_lightning.callbacks.acting_alarm import ActingAlarm

pytestmark = pytest.mark.filterwarnings("ignore::mviz_lightning.CollapseWarning")

GUARDS = {"__init__", "_act", "act_on_check", "_changed", "_step", "_try", "_fail", "_undo"}
"""Hold the guards themselves."""

UNDOING = {"leave", "_prepare", "on_train_end"}
"""Undo what lasts: where they never work, only the trainings go on."""


def inner():
    """Return what the hooks lead to, beside the functions that ask the trainer."""
    found = [
        (kind, name)
        for kind in (ActingAlarm, Acting)
        for name, value in vars(kind).items()
        if (inspect.isfunction(value) or isinstance(value, property)) and name not in GUARDS
        if not hasattr(Callback, name)
    ]
    return [*found, (trainer_facts, "may_stop"), (trainer_facts, "batch_number")]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)
    monkeypatch.setattr("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: [])


class Counting(Action):
    """Counts how often it is entered and left."""

    def __init__(self):
        self.entered = self.left = 0

    @contextmanager
    def during(self, alarms):
        self.entered += 1
        try:
            yield
        finally:
            self.left += 1


class SpoilAt(Callback):
    """Spoils something from one moment of the training on."""

    def __init__(self, where, name, hook, epoch):
        self.spoil = Spoil(where, name, UnprintableError)
        self.hook, self.epoch, self.on = hook, epoch, False

    def at(self, hook, epoch):
        if hook == self.hook and epoch == self.epoch and not self.on:
            self.on = True
            self.spoil.__enter__()

    def on_train_start(self, trainer, module):
        self.at("on_train_start", trainer.current_epoch)

    def on_train_epoch_start(self, trainer, module):
        self.at("on_train_epoch_start", trainer.current_epoch)

    def mend(self):
        if self.on:
            self.spoil.__exit__()


LASTING = [ModalityDropout(0.5), EncoderLearningRate(5, 0.1), GradientModulation(0.1)]

MOMENTS = {
    "before the check": ("on_train_epoch_start", IN_ALARM - 1),
    "in the alarm": ("on_train_epoch_start", IN_ALARM),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mviz_lightning.MonitorWarning")
@pytest.mark.parametrize("moment", ["in the alarm", pytest.param("before the check", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("where", "name"), spread(inner(), 3), ids=lambda one: getattr(one, "__name__", one))
def test_whatever_fails_the_training_goes_on_and_nothing_is_left(tmp_path, where, name, moment):
    counting, breaks = Counting(), SpoilAt(where, name, *MOMENTS[moment])
    try:
        module, chosen = planned(tmp_path, [*LASTING, counting], Planned(), breaks)
    finally:
        breaks.mend()
    assert chosen.current_epoch == len(module.plan)
    if name not in UNDOING:
        assert_clean(module, chosen)
        assert counting.entered == counting.left


def assert_clean(module, chosen):
    """Nothing that actions changed is left on model and optimizer."""
    assert "training_step" not in vars(module)
    (optimizer,) = chosen.optimizers
    assert len(optimizer.param_groups) == 1
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


HOOKS = ["begin_batch", "end_batch"]


@pytest.mark.long
@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_fails_at_every_batch_costs_one_warning_and_undoes_at_once(tmp_path, name):
    counting, breaks = Counting(), SpoilAt(Acting, name, *MOMENTS["in the alarm"])
    seen = Counted(counting)
    try:
        with pytest.warns(MonitorWarning, match="on_train_batch_") as said:
            planned(tmp_path, [counting, *LASTING], Planned(), breaks, seen)
    finally:
        breaks.mend()
    assert sum(UNPRINTABLE in str(one.message) or "UnprintableError" in str(one.message) for one in said) == 1
    assert breaks.spoil.hits > 4
    assert seen.found == (1, 1)


class Counted(Callback):
    """Reads, in the epoch of the alarm, after its first batch, how often an action was entered and left."""

    def __init__(self, counting):
        self.counting, self.found = counting, None

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (IN_ALARM, 1):
            self.found = self.counting.entered, self.counting.left


@pytest.mark.slow
@pytest.mark.parametrize("name", ["begin", "_prepare"])
def test_an_alarm_that_could_not_begin_changes_nothing(tmp_path, name):
    """Nor does it refuse the user's encoders, although it knows no modalities."""
    action = [ModalityDropout(0.5), EncoderLearningRate(5, 0.1, {"text": "encoders.text"})]
    spoil = Spoil(UnimodalCollapse if name == "begin" else ActingAlarm, name, UnprintableError)
    with pytest.warns(MonitorWarning, match="UnprintableError"), spoil:
        acting = kept(*planned(tmp_path, action))
    alone = kept(*planned(tmp_path, "warn"))
    assert same(alone["weights"], acting["weights"])
    assert same(alone["optimizers"], acting["optimizers"])


def test_an_error_while_a_batch_is_undone_keeps_no_alarm_from_being_undone(tmp_path):
    left = []
    acting = Acting([], UnimodalCollapse()._error_policy)
    acting._alarm.callback(left.append, "alarm")
    acting._batch.callback(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        acting.leave()
    assert left == ["alarm"]


@pytest.mark.slow
def test_an_alarm_knows_no_modalities_before_it_begins_nor_after_the_fit(tmp_path):
    assert not UnimodalCollapse()._modalities
    _, chosen = planned(tmp_path, ModalityDropout(0.5))
    (used,) = (one for one in chosen.callbacks if isinstance(one, UnimodalCollapse))
    assert not used._modalities
    assert used._history is None
    assert used._acting is None
