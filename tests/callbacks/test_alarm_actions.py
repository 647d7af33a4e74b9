"""Actions at an alarm, in trainings: without an alarm nothing changes, and after one nothing is left."""

from contextlib import contextmanager

import pytest
import torch
from helpers.collapsing import blank, heard
from helpers.delicate import same
from helpers.few import few, spread
from helpers.planned import IN_ALARM, Planned, kept, planned
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.actions import (
    Action,
    EncoderLearningRate,
    GradientModulation,
    ModalityDropout,
    SaveCheckpoint,
    StopTraining,
)

LASTING = {
    "dropout": ModalityDropout(0.5),
    "rate": EncoderLearningRate(5, 0.1),
    "modulation": GradientModulation(0.1),
    "all": [ModalityDropout(0.5), EncoderLearningRate(5, 0.1), GradientModulation(0.1)],
}
"""Actions that change the training while an alarm stands."""


pytestmark = pytest.mark.filterwarnings("ignore::mviz_lightning.CollapseWarning")


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)
    monkeypatch.setattr("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: [])


@pytest.mark.slow
def test_without_an_alarm_the_training_ends_with_the_same_bits(tmp_path):
    alone = kept(*planned(tmp_path, "warn", Planned("- - -")))
    acting = kept(*planned(tmp_path, [*LASTING["all"], SaveCheckpoint(), StopTraining()], Planned("- - -")))
    assert same(alone, acting)


@pytest.mark.slow
@pytest.mark.parametrize("name", few(LASTING))
def test_an_alarm_changes_the_training_and_neither_random_states_nor_groups(tmp_path, name):
    alone, acting = (kept(*planned(tmp_path, action)) for action in ("warn", LASTING[name]))
    assert not same(alone["weights"], acting["weights"])
    assert same(alone["random"], acting["random"])
    assert [one["param_groups"] for one in alone["optimizers"]] == [one["param_groups"] for one in acting["optimizers"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", spread(LASTING, 2))
def test_when_the_alarm_has_ended_nothing_is_left_behind(tmp_path, name):
    watch = Left()
    module, chosen = planned(tmp_path, LASTING[name], None, watch)
    assert watch.found == [(False, 0, 1)] * 3 + [(False, 2 * (name != "dropout"), 1)] + [(False, 0, 1)]
    assert [row.values["collapse/text"] for row in module.history] == [0, 0, 2, 0, 0]
    assert not chosen.optimizers[0]._optimizer_step_pre_hooks


class Left(Callback):
    """Counts what is on model and optimizer at the end of every epoch's training, before its validation."""

    def __init__(self):
        self.found = []

    def on_validation_start(self, trainer, module):
        if not trainer.sanity_checking:
            (optimizer,) = trainer.optimizers
            hooks = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
            self.found.append(("training_step" in vars(module), hooks, len(optimizer.param_groups)))


@pytest.mark.slow
def test_dropout_hides_the_others_as_long_as_the_alarm_stands(tmp_path):
    module, _ = planned(tmp_path, ModalityDropout(0.5))
    shares = [float(module.hidden(epoch).float().mean()) for epoch in range(5)]
    assert shares[:IN_ALARM] == [0, 0, 0]
    assert 0.3 < shares[IN_ALARM] < 0.7  # of 64 examples
    assert shares[IN_ALARM + 1] == 0
    assert not module.hidden(IN_ALARM, 1).any()
    plain, _ = planned(tmp_path, "warn")
    for (_, left), (_, right) in zip(module.met, plain.met, strict=True):
        assert all(torch.equal(left[place], right[place]) for place in (1, 2))  # text and labels


@pytest.mark.slow
def test_validation_batches_and_the_data_themselves_are_never_touched(tmp_path):
    """The answers of this model in validation do not depend on what it learns."""
    plain, _ = planned(tmp_path, "warn")
    module, chosen = planned(tmp_path, ModalityDropout(1))
    cost = {"seconds", "overhead"}
    for left, right in zip(plain.history, module.history, strict=True):
        assert {k: v for k, v in left.values.items() if k not in cost} == {
            k: v for k, v in right.values.items() if k not in cost
        }
    tensors = chosen.train_dataloader.dataset.tensors
    assert not any((tensor == 0).flatten(1).all(1).any() for tensor in tensors[:2])


class ByHand(Planned):
    """Multiplies rates itself, in groups of their own."""

    def configure_optimizers(self):
        rest = [*self.head.parameters(), self.learned]
        parts = [*self.encoders["image"].parameters()], [*self.encoders["text"].parameters()], rest
        made = torch.optim.Adam([{"params": part} for part in parts], lr=0.01)
        return {"optimizer": made, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(made, 0.9)}

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        rates = [group["lr"] for group in optimizer.param_groups]
        if self.current_epoch == IN_ALARM:
            for group, factor in zip(optimizer.param_groups, (0.1, 5, 1), strict=True):
                group["lr"] *= factor
        optimizer.step(closure=optimizer_closure)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


@pytest.mark.slow
def test_rates_are_those_of_groups_of_their_own_while_the_alarm_stands(tmp_path):
    module, _ = planned(tmp_path, EncoderLearningRate(5, 0.1))
    reference, _ = planned(tmp_path, "warn", ByHand())
    assert same(module.state_dict(), reference.state_dict())
    named, _ = planned(tmp_path, EncoderLearningRate(5, 0.1, {"text": "encoders.text", "image": ["encoders.image"]}))
    assert same(module.state_dict(), named.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", few([{"accumulate_grad_batches": 3}, {"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}]), ids=str
)
@pytest.mark.filterwarnings("ignore:.*bfloat16")
def test_rates_are_exact_with_accumulation_mixed_precision_and_clipping(tmp_path, settings):
    module, _ = planned(tmp_path, EncoderLearningRate(5, 0.1), **settings)
    reference, _ = planned(tmp_path, "warn", ByHand(), **settings)
    for name, value in module.state_dict().items():  # a norm is summed in the order of the groups
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_two_optimizers_by_hand(tmp_path):
    module, chosen = planned(tmp_path, LASTING["all"], Planned(optimizer="two"))
    alone, _ = planned(tmp_path, "warn", Planned(optimizer="two"))
    assert not same(module.state_dict(), alone.state_dict())
    assert [len(optimizer.param_groups) for optimizer in chosen.optimizers] == [1, 1]
    assert module.hidden(IN_ALARM).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", spread(LASTING, 2))
@pytest.mark.filterwarnings("ignore:.*", category=UserWarning)
def test_a_training_that_resumes_with_an_alarm_ends_with_the_same_bits(tmp_path, name):
    save = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole = kept(*planned(tmp_path, LASTING[name], Planned("- text text text -"), save, enable_checkpointing=True))
    path = tmp_path / f"epoch={IN_ALARM - 1}.ckpt"
    module, chosen = planned(tmp_path, LASTING[name], Planned("text text -"), path=path, max_epochs=5)
    assert min(epoch for epoch, _ in module.met) == IN_ALARM
    assert same(whole["weights"], module.state_dict())
    assert same(whole["optimizers"], kept(module, chosen)["optimizers"])


@pytest.mark.slow
def test_several_modalities_in_alarm_at_once(tmp_path):
    module = Planned("- text text,image text,image -", count=3)
    planned(tmp_path, ModalityDropout(1), module, expected=["image", "text", "audio"])
    found = {name: [row.values[f"collapse/{name}"] for row in module.history] for name in ("image", "text", "audio")}
    assert found == {"image": [0, 0, 0, 2, 0], "text": [0, 0, 2, 2, 0], "audio": [0] * 5}
    hidden = [[bool(module.hidden(epoch, place).all()) for place in range(3)] for epoch in range(5)]
    assert hidden == [[False] * 3] * 3 + [[True, False, True], [False, False, True]]


class Failing(Action):
    """Fails in one of its methods."""

    def __init__(self, method):
        setattr(self, method, self.fail)
        self.calls = 0

    def fail(self, *_):
        self.calls += 1
        raise RuntimeError("no such luck")

    def change_batch(self, batch, alarms, number):
        return batch

    @contextmanager
    def during_step(self, optimizer, alarms, number):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("method", few(["after_check", "during", "during_step", "change_batch", "announce"]))
def test_an_action_that_fails_costs_one_warning_and_itself(tmp_path, method):
    alone, action = kept(*planned(tmp_path, "warn")), Failing(method)
    with pytest.warns(MonitorWarning, match="no such luck") as said:
        acting = kept(*planned(tmp_path, action))
    assert same(alone, acting)
    assert action.calls == 1
    assert sum("no such luck" in str(one.message) for one in said) == 1


class FailsToLeave(Action):
    """Fails when its context is left."""

    @contextmanager
    def during(self, alarms):
        yield
        raise RuntimeError("no way back")


@pytest.mark.slow
def test_an_error_while_something_is_undone_is_a_warning_and_the_others_go_on(tmp_path):
    with pytest.warns(MonitorWarning, match="FailsToLeave is off.*no way back"):
        module, _ = planned(tmp_path, [FailsToLeave(), ModalityDropout(1)])
    assert [bool(module.hidden(epoch).all()) for epoch in range(5)] == [False, False, False, True, False]


class Noting(Action):
    """Notes when it begins and ends."""

    def __init__(self):
        self.notes = []

    @contextmanager
    def during(self, alarms):
        self.notes.append(("begin", list(alarms.silent), list(alarms.began)))
        try:
            yield
        finally:
            self.notes.append(("end", list(alarms.silent)))


@pytest.mark.slow
def test_a_context_is_left_at_the_end_of_the_alarm_and_at_the_end_of_the_training(tmp_path):
    ended, lasting = Noting(), Noting()
    planned(tmp_path, ended)
    planned(tmp_path, lasting, Planned("- text text"))
    assert ended.notes == lasting.notes == [("begin", ["text"], ["text"]), ("end", ["text"])]


class Broken(Planned):
    """Fails in the epoch of the alarm."""

    def training_step(self, batch, batch_idx):
        if self.current_epoch == IN_ALARM:
            raise RuntimeError("out of luck")
        return super().training_step(batch, batch_idx)


@pytest.mark.slow
def test_an_error_of_the_training_leaves_nothing_on_the_model_either(tmp_path):
    module, noting = Broken(), Noting()
    with pytest.raises(RuntimeError, match="out of luck"):
        planned(tmp_path, [*LASTING["all"], noting], module)
    assert noting.notes[-1][0] == "end"
    assert "training_step" not in vars(module)
    (optimizer,) = module.trainer.optimizers
    assert (len(optimizer.param_groups), len(optimizer._optimizer_step_pre_hooks)) == (1, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*", category=UserWarning)
def test_a_checkpoint_is_saved_once_an_onset_and_a_training_resumes_from_it(tmp_path):
    plan = "- text text text - text text"
    whole, chosen = planned(tmp_path, [SaveCheckpoint(str(tmp_path / "at")), ModalityDropout(0.5)], Planned(plan))
    names = sorted(path.name for path in (tmp_path / "at").iterdir())
    assert names == ["collapse-text-epoch=2-step=12.ckpt", "collapse-text-epoch=6-step=28.ckpt"]
    rest = Planned("text - text text")
    resumed, again = planned(
        tmp_path, [SaveCheckpoint(str(tmp_path / "b")), ModalityDropout(0.5)], rest, path=tmp_path / "at" / names[0],
        max_epochs=7,
    )  # fmt: skip
    assert same(kept(whole, chosen)["weights"], kept(resumed, again)["weights"])
    assert [path.name for path in (tmp_path / "b").iterdir()] == [names[1]]
    assert [row.values["collapse/text"] for row in resumed.history] == [0, 0, 2, 2, 0, 0, 2]


def test_without_a_path_checkpoints_lie_in_the_root_folder(tmp_path):
    planned(tmp_path, SaveCheckpoint())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["collapse-text-epoch=2-step=12.ckpt"]


@pytest.mark.slow
def test_a_list_may_stop_the_training_too(tmp_path):
    called = []
    action = [SaveCheckpoint(), StopTraining(), lambda trainer, module, verdict: called.append(verdict.modality)]
    _, chosen = planned(tmp_path, action)
    assert (chosen.current_epoch, called) == (3, ["text"])
    assert (tmp_path / "checkpoints" / "collapse-text-epoch=2-step=12.ckpt").exists()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (ModalityDropout, "action=ModalityDropout: give an object, ModalityDropout()"),
        (
            "mviz_lightning.actions.ModalityDropout",
            "action='mviz_lightning.actions.ModalityDropout': give an object, ModalityDropout()",
        ),
        (["stop", 3], "action=3: choose 'warn' or 'stop'.*an action such as mviz_lightning.actions.ModalityDropout"),
        (
            EncoderLearningRate(encoders={"text": "tower"}),
            "the model has no such submodule; it has .*'encoders', 'head'",
        ),
        (GradientModulation(encoders={"sound": "head"}), r"choose among the modalities \['image', 'text'\]"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(tmp_path, action, message):
    module = Planned()
    with pytest.raises(ConfigurationError, match=message):
        planned(tmp_path, action, module)
    assert not module.met


@pytest.mark.slow
def test_alarms_say_what_is_done_and_the_log_names_the_encoders(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folder "at" lies there
    action = [*LASTING["all"], SaveCheckpoint("at"), StopTraining()]
    with caplog.at_level("INFO"), heard() as said:
        planned(tmp_path, action)
    assert said[0].splitlines()[-5:] == [
        "Until the alarm ends, image: hidden in 50% of the training examples.",
        "Until the alarm ends, the learning rate of the encoder of text is multiplied by 5, those of image by 0.1.",
        "Until the alarm ends, the gradients of these encoders are multiplied: image by 0.24.",
        "A checkpoint is saved in at.",
        "The training is stopped (action='stop').",
    ]
    assert "submodules that are used for one modality alone: image: encoders.image; text: encoders.text" in caplog.text
