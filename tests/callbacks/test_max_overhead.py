"""Trainings in which the monitor keeps to a share of the time, by a clock of the tests' own."""

import pytest
import torch
from callbacks.test_no_trace import everything, same, train
from callbacks.test_schedule import Clock
from helpers.toy import Toy, fit, loader, monitor, trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from mviz_lightning import UnimodalCollapse
from mviz_lightning.explainers import DIME
from mviz_lightning.explainers.dime.figure import ExplanationFigure
from mviz_lightning.session.session import Session

EPOCH = 10.0
KEY = "mviz/weakest_total"


class Watched(Callback):
    """Stands behind the monitor; its clock goes on by ten seconds an epoch, and by what the monitor's work costs."""

    def __init__(self, patch, watch, shares=0.0, dime=0.0, pictures=0.0):
        self.clock, self.watch, self.seen = Clock(), watch, []
        works = [(Session, "run", shares), (Session, "explain", dime), (ExplanationFigure, "picture", pictures)]
        for owner, name, price in works:
            patch.setattr(owner, name, self._paid(getattr(owner, name), price))

    def _paid(self, work, price):
        def paid(*args, **settings):
            self.clock.now += price
            return work(*args, **settings)

        return paid

    def setup(self, trainer, module, stage):
        time_budget = self.watch._run.measurement_run.time_budget
        self.limit, time_budget.clock = time_budget.limit, self.clock
        time_budget.__post_init__()  # it begins by this clock

    def on_train_epoch_start(self, trainer, module):
        self.clock.now += EPOCH

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.seen.append(float(trainer.callback_metrics[KEY]))


def watching(**settings):
    explainers = [DIME(num_examples=1, masks=4, donors=2, every_n_validations=1)]
    return monitor(**({"max_overhead": 0.05, "explainers": explainers} | settings))


def epochs(watch, word=""):
    """The epochs that were measured, or those whose note says something."""
    rows = [row for row in watch.history if word in row.note] if word else watch.history.fitted
    return [row.epoch for row in rows]


def explained(watch):
    return [(entry.step - 1) // 4 for entry in watch.explanation_history.entries]


@pytest.mark.slow
def test_explanations_are_put_off_and_catch_up_while_shares_go_on(tmp_path, monkeypatch, unwritten):
    watch = watching()
    # With d of them made there is time at the k-th validation: 0.2 k + 0.6 (d + 1) <= 0.05 (10.2 k + 0.6 (d + 1))
    fit(tmp_path, watch, Watched(monkeypatch, watch, shares=0.2, dime=0.6), max_epochs=9)
    assert epochs(watch) == [*range(9)]
    assert explained(watch) == [0, 3, 5, 7, 8]  # the last of them at the end
    assert epochs(watch, "put off: dime (max_overhead=0.05)") == [1, 4, 6, 8]  # not at the third, which goes on waiting
    assert "epoch 1: put off: dime (max_overhead=0.05)" in str(watch.history)


@pytest.mark.slow
def test_pictures_are_explanations_too(tmp_path, monkeypatch):
    watch = watching()
    fit(tmp_path, watch, Watched(monkeypatch, watch, shares=0.2, dime=0.35, pictures=0.25), max_epochs=9)
    assert explained(watch) == [0, 3, 5, 7, 8]  # as when the method alone takes as long


def test_shares_are_put_off_last_and_leave_something_to_monitor(tmp_path, monkeypatch, unwritten):
    watch = watching()
    stop = EarlyStopping(KEY, mode="max", patience=50, check_on_train_epoch_end=False)
    best = ModelCheckpoint(tmp_path, filename="{epoch}", monitor=KEY, mode="max", save_top_k=-1)
    look = Watched(monkeypatch, watch, shares=1.0)
    # With n of them made there is time at the k-th validation: n + 1 <= 0.05 (10 k + n + 1)
    chosen = fit(tmp_path, stop, watch, look, UnimodalCollapse(), best, max_epochs=9, enable_checkpointing=True)
    assert chosen.current_epoch == 9
    assert epochs(watch) == [0, 3, 5, 7]
    assert epochs(watch, "put off: the shares (max_overhead=0.05)") == [1, 4, 6, 8]
    measured = {row.epoch: row.values["weakest_total"] for row in watch.history.fitted}
    assert look.seen == pytest.approx([measured[epoch] for epoch in (0, 0, 0, 3, 3, 5, 5, 7, 7)])
    assert len(best.best_k_models) == 9
    assert explained(watch) == [0, 3, 5, 7, 8]  # the last of them at the end


def test_shares_that_were_put_off_come_with_the_next_validation_that_has_time(tmp_path, monkeypatch, unwritten):
    watch = watching(every_n_validations=3, explainers=[])
    fit(tmp_path, watch, Watched(monkeypatch, watch, shares=1.4), max_epochs=9)
    assert epochs(watch) == [0, 5, 7]  # due at 3 and 6; 1.4 (n + 1) <= 0.05 (10 k + 1.4 (n + 1))
    assert epochs(watch, "put off") == [3, 6]


@pytest.mark.slow
def test_without_the_argument_the_clock_is_no_matter(tmp_path, monkeypatch, unwritten):
    watch = watching(max_overhead=None)
    fit(tmp_path, watch, Watched(monkeypatch, watch, shares=1.0, dime=1.0), max_epochs=3)
    assert epochs(watch) == explained(watch) == [0, 1, 2]
    assert [row.note for row in watch.history] == [""] * 3


@pytest.mark.long
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_validation_by_itself_is_never_put_off(tmp_path, monkeypatch, unwritten, stage):
    watch, module = watching(), Toy()
    look = Watched(monkeypatch, watch, shares=50.0, dime=50.0)
    chosen = fit(tmp_path, watch, look, module=module, max_epochs=2)
    assert (epochs(watch), look.limit) == ([0], 0.05)
    for _ in range(2):
        before = look.clock.now
        getattr(chosen, stage)(module, loader(seed=1), verbose=False)
        assert (watch.history[-1].stage, bool(watch.history[-1].values)) == (stage, True)
        assert look.clock.now == before + 100
    assert look.limit is None


same_folder = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@same_folder
def test_a_resumed_training_starts_the_clock_anew_and_makes_up_for_what_was_put_off(tmp_path, monkeypatch, unwritten):
    first = watching(every_n_validations=5)
    with monkeypatch.context() as patch:
        kept = ModelCheckpoint(tmp_path, filename="last")
        fit(tmp_path, first, Watched(patch, first, shares=5.0), kept, max_epochs=6, enable_checkpointing=True)
    assert epochs(first) == [0]
    assert epochs(first, "put off") == [5]
    second = watching(every_n_validations=5)
    resume(tmp_path, second, Watched(monkeypatch, second, shares=5.0), ModelCheckpoint(tmp_path))
    assert epochs(second) == [0, 6]


def resume(folder, *callbacks):
    chosen = trainer(folder, *callbacks, max_epochs=8, enable_checkpointing=True)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=1), ckpt_path=folder / "last.ckpt")


@pytest.mark.slow
def test_training_ends_with_the_same_bits_whatever_is_put_off(tmp_path, monkeypatch):
    alone = train(tmp_path)
    watch = everything(max_overhead=0.05)
    watched = train(tmp_path, watch, Watched(monkeypatch, watch, shares=0.6, dime=1.0))
    assert 1 < len(watch.history.fitted) < 9
    assert any("put off" in row.note for row in watch.history)
    assert {what: same(alone[what], watched[what]) for what in alone} == dict.fromkeys(alone, True)
    assert torch.equal(alone["random"][2], watched["random"][2])


def test_collecting_examples_and_trying_the_model_count_too(tmp_path, monkeypatch, unwritten):
    watch = monitor()
    watched = Watched(monkeypatch, watch)
    calls = []
    for name in ("collect", "dry_run"):
        paid = watched._paid(getattr(Session, name), 2.0)
        monkeypatch.setattr(Session, name, lambda *args, paid=paid: calls.append(0) or paid(*args))
    fit(tmp_path, watch, watched)
    assert len(calls) >= 8
    assert sum(row.values["seconds"] for row in watch.history.fitted) == 2.0 * len(calls)


def test_the_first_shares_are_not_put_off_for_what_prepares_them(tmp_path, monkeypatch, unwritten):
    watch = watching(explainers=[])
    watched = Watched(monkeypatch, watch)
    monkeypatch.setattr(Session, "dry_run", watched._paid(Session.dry_run, 100.0))
    fit(tmp_path, watch, watched, max_epochs=1)
    assert epochs(watch) == [0]
