"""Trainings in which the monitor keeps to a share of the time, by a clock of the tests' own."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from toy import fit, monitor

from mviz_lightning.callbacks.pace import SHARES, Pace
from mviz_lightning.explainers import DIME


class Priced(Pace):
    """Work costs what the test says."""

    prices: dict[str, float]

    def spend(self, work, seconds):
        super().spend(work, self.prices.get(work, 0.0))


class Clock(Callback):
    """Lets every epoch take ten seconds, and the monitor's work its price."""

    def __init__(self, watch, prices):
        self.watch, self.prices, self.now = watch, prices, 0.0

    def on_fit_start(self, trainer, pl_module):
        self.watch._examination.pace = Priced(self.watch._max_overhead, lambda: self.now)
        self.watch._examination.pace.prices = self.prices

    def on_train_epoch_start(self, trainer, pl_module):
        self.now += 10


def watched(tmp_path, prices, *callbacks, epochs=9, **settings):
    watch = monitor(
        max_overhead=0.05, explainers=[DIME(num_examples=1, masks=4, donors=2, every_n_validations=1)], **settings
    )
    return watch, fit(tmp_path, watch, Clock(watch, prices), *callbacks, max_epochs=epochs)


def test_explanations_are_put_off_and_shares_go_on(tmp_path):
    watch, _ = watched(tmp_path, {SHARES: 0.2, "dime": 0.6})
    assert [row.epoch for row in watch.history.fitted] == [*range(9)]
    assert [entry.epoch for entry in watch.album.entries] == [0, 3, 5, 7, 8]  # and at the end
    assert [row.epoch for row in watch.history if "dime put off" in row.note] == [1, 4, 6, 8]


def test_shares_are_put_off_last_and_what_monitors_them_goes_on(tmp_path):
    stopping = EarlyStopping("mviz/weakest_total", mode="max", patience=50)
    watch, trainer = watched(tmp_path, {SHARES: 1.0, "dime": 0.0}, stopping)
    assert [row.epoch for row in watch.history.fitted] == [0, 3, 5, 7]
    assert [row.epoch for row in watch.history if row.note] == [1, 4, 6, 8]
    assert trainer.current_epoch == 9
    assert "mviz/weakest_total" in trainer.callback_metrics


def test_the_clock_changes_no_bit_of_the_training(tmp_path):
    states = []
    for price in (0.0, 5.0):
        watch = monitor(max_overhead=0.05, explainers=[DIME(num_examples=1, masks=4, donors=2)])
        trainer = fit(tmp_path, watch, Clock(watch, {SHARES: price, "dime": price}), max_epochs=3)
        states.append(trainer.model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_validation_by_itself_is_not_spaced(tmp_path, stage):
    watch, trainer = watched(tmp_path, {SHARES: 1.0, "dime": 9.0}, epochs=1)
    from toy import loader

    getattr(trainer, stage)(trainer.lightning_module, loader(seed=1), verbose=False)
    assert watch._examination.pace.limit is None
    assert watch.history[-1].stage == stage
    assert watch.history[-1].values
