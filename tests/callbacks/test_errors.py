"""What goes wrong is said clearly, and the training goes on."""

import json
import logging

import pytest
import torch
from helpers.toy import Toy, Unseen, examples, fit, loader, monitor, trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from mviz_lightning import ConfigurationError, MonitorWarning, UnimodalCollapse, explain
from mviz_lightning.sinks import TensorBoardSink


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"modalities": {"image": "0"}},
            r"modalities=\['image'\]: contributions compare modalities, so name 2 or more",
        ),
        ({"modalities": {"image": "0", "text": "0"}}, "leaf '0' is given twice, in 'image' and in 'text'"),
        ({"modalities": ["0", "0"]}, "'0' is given twice"),
        ({"modalities": {"image": [], "text": "1"}}, r"modalities\['image'\]=\[\] names no leaf"),
        ({"modalities": {"an image": "0", "text": "1"}}, "use letters, digits and underscores"),
        ({"group_size": 2}, "group_size=2: 2 modalities need groups of 4 or more"),
        ({"num_examples": 8}, "num_examples=8: intervals need 2 groups of group_size=8"),
        ({"budget": 100}, "budget=100 rows: two groups of 8 take 128"),
        ({"on_error": "ignore"}, "on_error='ignore': choose 'warn' or 'raise'"),
        ({"every_n_validations": 0}, "every_n_validations=0: give 1 or more"),
        ({"predict": "nowhere.to.be_found"}, "predict='nowhere.to.be_found' cannot be imported"),
    ],
)
def test_impossible_arguments_are_refused_at_once(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        monitor(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"modalities": {"image": "0", "text": "7"}},
            r"no leaf '7' in the batch; leaves found: 0 \(16, 4\), 1 \(16, 3\)",
        ),
        ({"target": "labels"}, "target: no leaf 'labels' in the batch"),
        ({"task": "ranking"}, "task='ranking': choose one of 'multiclass'"),
        ({"target": "0", "modalities": {"a": "0", "b": "1"}, "task": "multiclass"}, "targets of 1 value"),
        ({"predict": lambda module, batch: "a caption"}, "the model returned 'str'"),
    ],
)
def test_a_wrong_configuration_fails_before_the_training(tmp_path, settings, message):
    module = Toy()
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(ConfigurationError, match=message):
        fit(tmp_path, monitor(**settings), module=module)
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def all_with_all(module, batch):
    return (module.encoders[0](batch[0]) @ batch[0].new_ones(6, len(batch[0]))).softmax(0)


def test_examples_that_are_compared_with_one_another_cost_the_monitor(tmp_path):
    watch = monitor(predict=all_with_all)
    with pytest.warns(MonitorWarning, match="the monitor is off.*compares every example"):
        chosen = fit(tmp_path, watch, module=Toy())
    assert chosen.global_step > 0
    assert not any(row.values for row in watch.history)


class Silent(Toy):
    """Computes no loss in validation."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        pass


def test_class_indices_beyond_the_outputs_are_refused(tmp_path):
    with pytest.raises(
        ConfigurationError, match="task='multiclass' with 2 outputs needs targets from 0 to 1; found are"
    ):
        trainer(tmp_path, monitor()).validate(Silent(outputs=2), DataLoader(examples(), batch_size=64), verbose=False)


def test_a_wrong_configuration_found_late_costs_the_monitor_and_not_the_training(tmp_path):
    with pytest.warns(MonitorWarning, match="a run failed.*no leaf '7'"):
        chosen = fit(tmp_path, monitor(modalities={"image": "0", "text": "7"}), num_sanity_val_steps=0)
    assert chosen.current_epoch == 2


class Ill(Toy):
    """Gives NaN from some epoch on."""

    def __init__(self, since: int) -> None:
        super().__init__()
        self.since = since

    def forward(self, *modalities):
        outputs = super().forward(*modalities)
        return outputs if self.training or self.current_epoch < self.since else outputs * float("nan")


@pytest.mark.parametrize("since", [0, 1])
def test_outputs_that_are_nan_cost_that_run_only(tmp_path, since):
    watch = monitor()
    stop = EarlyStopping("mviz/weakest_total", mode="max", patience=9)
    with pytest.warns(MonitorWarning, match="256 of 256 rows of the model's outputs are NaN or infinite") as caught:
        chosen = fit(tmp_path, watch, stop, module=Ill(since), max_epochs=3)
    assert chosen.current_epoch == 3
    assert [bool(row.values) for row in watch.history] == [epoch < since for epoch in range(3)]
    assert sum("NaN" in str(warning.message) for warning in caught) == 1


def test_a_failed_run_is_a_line_in_the_file_with_its_reason(tmp_path):
    with pytest.warns(MonitorWarning):
        fit(tmp_path, monitor(), module=Ill(1))
    lines = [json.loads(line) for line in next(tmp_path.rglob("history.jsonl")).read_text().splitlines()]
    assert lines[0]["note"] == ""
    assert (lines[1]["values"], "NaN or infinite" in lines[1]["note"]) == ({}, True)


def test_errors_can_be_asked_for(tmp_path):
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        fit(tmp_path, monitor(on_error="raise"), module=Ill(0))


def test_too_few_examples_are_said_and_the_training_goes_on(tmp_path):
    with pytest.warns(
        MonitorWarning, match="5 validation examples were seen; contribution shares of 2 modalities need 8"
    ):
        trainer(tmp_path, monitor()).fit(Toy(), loader(), loader(5))


def test_fewer_examples_than_two_groups_make_smaller_groups(tmp_path):
    watch = monitor()
    with pytest.warns(MonitorWarning, match="12 validation examples are fewer than two groups of group_size=8"):
        trainer(tmp_path, watch).fit(Toy(), loader(), loader(12))
    assert watch._run.session.probe.groups.shape == (2, 6)


class Down:
    """A logger that cannot be reached."""

    @property
    def experiment(self):
        raise ConnectionError("the logger is down")


def test_a_logger_that_raises_costs_its_pictures_only(tmp_path):
    watch = monitor()

    class Attach(Callback):
        def on_fit_start(self, trainer, module):
            watch._run.reporter.sinks = [*watch._run.reporter.sinks, TensorBoardSink(Down())]

    with pytest.warns(
        MonitorWarning,
        match="a result could not be written or read: .*the logger is down",
    ):
        fit(tmp_path, Attach(), watch)
    assert len(watch.history) == 2
    assert next(tmp_path.rglob("shares.png")).exists()


def test_a_task_that_nothing_tells_is_asked_for_before_the_training(tmp_path):
    with pytest.raises(ConfigurationError, match="neither task= nor target= shows what they are"):
        fit(tmp_path, monitor(target=None), module=Unseen())


def test_how_the_model_is_called_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        fit(tmp_path, monitor())
    assert (
        "the model is called as self(batch[0], batch[1]). Run once per distinct input, not once per row: "
        in caplog.text
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "key"), [("min", "mviz/score"), ("max", "mviz/emap_gap"), ("min", "mviz/interaction")]
)
def test_a_failed_first_run_is_never_the_best(tmp_path, mode, key):
    best = ModelCheckpoint(tmp_path, filename="{epoch}", monitor=key, mode=mode)
    stop = EarlyStopping(key, mode=mode, patience=9)
    placeholder = (
        "a run failed; EarlyStopping and ModelCheckpoint get a placeholder value at this validation. .*NaN or inf"
    )
    with pytest.warns(MonitorWarning, match=placeholder):
        chosen = fit(tmp_path, monitor(), best, stop, module=IllAtFirst(), max_epochs=3, enable_checkpointing=True)
    assert chosen.current_epoch == 3
    assert "epoch=0" not in best.best_model_path


class IllAtFirst(Toy):
    """Gives NaN in its first epoch."""

    def forward(self, *modalities):
        outputs = super().forward(*modalities)
        return outputs if self.training or self.current_epoch > 0 else outputs * float("nan")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "told"),
    [("announce", "the alarm could not be announced"), ("judge", "the alarm could not judge a run")],
)
def test_an_alarm_that_fails_is_said_in_its_own_words(tmp_path, monkeypatch, name, told):
    def fail(*_):
        raise OSError("no paper")

    monkeypatch.setattr(UnimodalCollapse, name, fail)
    watch = monitor()
    with pytest.warns(MonitorWarning, match=f"^MultimodalMonitor: {told}: OSError: no paper"):
        fit(tmp_path, watch, UnimodalCollapse())
    assert len(watch.history) == 2


def test_one_broken_sink_leaves_the_others_alone(tmp_path):
    watch = monitor()

    class Attach(Callback):
        def on_fit_start(self, trainer, module):
            watch._run.reporter.sinks = [TensorBoardSink(Down()), *watch._run.reporter.sinks]

    with pytest.warns(MonitorWarning, match="the logger is down"):
        fit(tmp_path, Attach(), watch)
    assert next(tmp_path.rglob("shares.png")).exists()


def test_a_state_of_another_version_costs_the_history_and_not_the_resume(tmp_path):
    watch = monitor()
    fit(tmp_path, watch, max_epochs=1)
    state = watch.state_dict()
    state["history"]["rows"][0]["colour"] = "red"
    watch.load_state_dict(state)
    assert watch.history[0].epoch == 0
    with pytest.warns(
        MonitorWarning, match=r"what \(unknown\); history \(missing\); album \(missing\) and 1 more. The"
    ):
        watch.load_state_dict({"what": "ever"})


def test_optional_arguments_do_not_hide_a_modality(tmp_path):
    class Optional(Toy):
        def forward(self, image, words=None):
            words = image.new_zeros(len(image), 3) if words is None else words
            return super().forward(image, words)

    data = [{"image": torch.randn(16, 4), "caption": torch.randn(16, 3)} for _ in range(8)]
    with pytest.warns(MonitorWarning, match=r"passed in the order in which modalities were declared"):
        found = explain(Optional(), data, modalities=["image", "caption"], task="multiclass", num_examples=32)
    assert found.values["total/caption"] > 0.01
