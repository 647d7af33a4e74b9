"""What goes wrong with explanations is said, costs what failed and nothing else."""

from itertools import count

import pytest
import torch
from helpers.batches import LSTMNet, cnn_lstm
from helpers.few import few
from helpers.toy import SMALL, Toy, examples, fit, monitor, trainer
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader, StackDataset

from mviz_lightning import ConfigurationError, Modality, MonitorWarning, MultimodalMonitor
from mviz_lightning.explainers import DIME
from mviz_lightning.explainers.dime.figure import ExplanationFigure
from mviz_lightning.explainers.dime.over_epochs import picture_over_epochs
from mviz_lightning.testing import MemorySink


def watching(settings=None, **dime):
    return monitor(explainers=[DIME(**{"num_examples": 2, "every_n_validations": 1, **dime})], **(settings or {}))


@pytest.fixture
def sinks(monkeypatch):
    """What is written instead of files."""
    found = [MemorySink()]
    monkeypatch.setattr("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: found)
    return found


def written(sink):
    return [record.key.removeprefix("mviz/") for record, *_ in sink.records]


def expected(watch, drop=()):
    """All keys that a training of two explained validations writes."""
    pictures = [f"dime/example_{found.position}" for found in watch.explanation_history.entries[0].explanations]
    run = [*pictures, "dime/examples", "shares"]
    once = ["dime/how_to_read", "how_to_read", "summary", *(f"{key}_over_epochs" for key in pictures)]
    return sorted(key for key in [*run, *run, *once] if key not in drop)


@pytest.mark.parametrize(
    ("settings", "dime", "message"),
    [
        ({"class_names": ["a", "b"]}, {}, "class_names has 2 names, but the model has 3 outputs"),
        (
            {},
            {"outputs": [9]},
            r"DIME\(outputs=\[9\]\): the model has 3 outputs; 9 is out of range; allowed are 0 to 2",
        ),
        ({"modalities": {"a": Modality("0", kind="image"), "b": "1"}}, {}, "kind='image' of '0': expected"),
        ({"modalities": {"a": Modality("0", baseline="blur"), "b": "1"}}, {}, "baseline='blur' of '0'"),
    ],
)
def test_what_cannot_be_explained_as_asked_is_said_before_the_training(tmp_path, settings, dime, message):
    module = Toy()
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(ConfigurationError, match=message):
        fit(tmp_path, watching(settings, **dime), module=module)
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


class Packing(Toy):
    """Cannot bear an empty attention mask."""

    def __init__(self):
        super().__init__()
        self.model = LSTMNet()

    def forward(self, batch):
        return self.model(batch["image"], batch["ids"], batch["attention_mask"])

    def loss(self, batch):
        return nn.functional.cross_entropy(self(batch), batch["label"])

    def validation_step(self, batch, _):
        self.log("val_loss", self.loss(batch), batch_size=16)


def reading(baseline):
    """A monitor of such a model, and its batches."""
    leaves = {**cnn_lstm(32).batch, "label": torch.arange(32) % 3}
    words = Modality("ids", "attention_mask", baseline=baseline)
    settings = {**SMALL, "num_examples": 16, "explainers": [DIME(num_examples=1)], "target": "label"}
    return MultimodalMonitor({"image": "image", "text": words}, **settings), DataLoader(StackDataset(**leaves), 16)


@pytest.mark.slow
def test_a_model_that_cannot_bear_masked_inputs_is_told_the_remedy_which_helps(tmp_path, sinks):
    watch, data = reading(None)
    with pytest.raises(ConfigurationError, match=r"(?s)text.*Length of all samples.*Modality\('ids', baseline=...\)"):
        trainer(tmp_path, watch).fit(Packing(), data, data)
    watch, data = reading(0)
    trainer(tmp_path, watch, max_epochs=1).fit(Packing(), data, data)
    assert [row.note for row in watch.history] == [""]
    assert len(watch.explanation_history.entries[0].explanations[0].outputs[0].parts) == 2


def breaking(monkeypatch, owner, name, *, when=lambda *_: True):
    """Make a method raise whenever it is called in a certain way."""
    works = getattr(owner, name)

    def broken(self, *arguments, **named):
        if when(self, *arguments):
            raise ArithmeticError("no such luck")
        return works(self, *arguments, **named)

    monkeypatch.setattr(owner, name, broken)


@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_costs_no_other(tmp_path, sinks, monkeypatch):
    watch = watching({"pictures_every_n_validations": 1, "pin": [5]})
    breaking(monkeypatch, ExplanationFigure, "picture", when=lambda _, explanation, *__: explanation.position == 5)
    with pytest.warns(MonitorWarning, match="could not be written or read: ArithmeticError: no such luck") as caught:
        fit(tmp_path, watch)
    assert sum(warning.category is MonitorWarning for warning in caught) == 1
    assert sorted(written(sinks[0])) == expected(watch, ["dime/example_5"])
    tables = [record for record, *_ in sinks[0].records if record.key.endswith("/examples")]
    assert all(5 not in {row[1] for row in table.rows} and table.rows for table in tables)


@pytest.mark.slow
def test_a_table_that_cannot_be_made_costs_no_picture(tmp_path, sinks, monkeypatch):
    watch = watching({"pictures_every_n_validations": 1})
    breaking(monkeypatch, ExplanationFigure, "table")
    with pytest.warns(MonitorWarning, match="could not be written or read: ArithmeticError: no such luck"):
        fit(tmp_path, watch)
    assert sorted(written(sinks[0])) == expected(watch, ["dime/examples"])


@pytest.mark.slow
def test_a_film_that_cannot_be_drawn_costs_no_other(tmp_path, sinks, monkeypatch):
    watch, calls = watching({"pictures_every_n_validations": 1}), count()

    def fails_first(moments, drawing, key, works=picture_over_epochs):
        if next(calls) == 0:
            raise ArithmeticError("no such luck")
        return works(moments, drawing, key)

    monkeypatch.setattr("mviz_lightning.explainers.dime.over_epochs.picture_over_epochs", fails_first)
    with pytest.warns(MonitorWarning, match="could not be written or read: ArithmeticError: no such luck"):
        fit(tmp_path, watch)
    first = f"dime/example_{watch.explanation_history.entries[0].explanations[0].position}_over_epochs"
    assert sorted(written(sinks[0])) == expected(watch, [first])


@pytest.mark.slow
@pytest.mark.parametrize("method", few(["open", "write", "row"]))
@pytest.mark.parametrize("place", [0, 1], ids=["first", "last"])
def test_a_sink_that_raises_costs_no_other(tmp_path, sinks, method, place):
    class Down(MemorySink):
        pass

    def refuse(self, *_, **__):
        raise ConnectionError("the logger is down")

    setattr(Down, method, refuse)
    sinks.insert(place, Down())
    watch = watching()
    with pytest.warns(MonitorWarning, match="could not be written or read: ConnectionError: the logger is down"):
        chosen = fit(tmp_path, watch)
    assert chosen.current_epoch == 2
    assert sorted(written(sinks[1 - place])) == expected(watch)
    assert len(sinks[1 - place].rows) == len(watch.history) == 2


@pytest.mark.slow
def test_a_method_that_raises_costs_its_own_explanations(tmp_path, sinks, monkeypatch):
    watch = monitor(explainers=[DIME(num_examples=1, name="ill"), DIME(num_examples=1, name="well")])
    breaking(monkeypatch, DIME, "explain", when=lambda self, *_: self.name == "ill")
    with pytest.warns(MonitorWarning, match="ill failed: ArithmeticError: no such luck") as caught:
        fit(tmp_path, watch)
    assert sum(warning.category is MonitorWarning for warning in caught) == 1
    assert [entry.explainer for entry in watch.explanation_history.entries] == ["well", "well"]
    assert all(row.values for row in watch.history)
    assert "ill failed: ArithmeticError: no such luck" in watch.history[0].note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name"), [(DIME, "explain"), (ExplanationFigure, "picture"), (ExplanationFigure, "table")]
)
def test_failures_can_be_asked_for(tmp_path, sinks, monkeypatch, owner, name):
    breaking(monkeypatch, owner, name)
    with pytest.raises(ArithmeticError, match="no such luck"):
        fit(tmp_path, watching({"on_error": "raise"}))


@pytest.mark.slow
def test_an_example_that_cannot_be_explained_is_said_and_costs_no_other(tmp_path, sinks):
    ill = examples(seed=1).tensors[0][5]

    class Ill(Toy):
        """Cannot bear most of the masks of one image, and some of those of the others."""

        def forward(self, *modalities):
            image = modalities[0]
            broken = (image[:, :2] == 0).any(1) & ((image[:, 3] == 0) | (image[:, 3] == ill[3]))
            return super().forward(*modalities).where(~broken[:, None], float("nan"))

    watch = watching({"modalities": {"image": Modality("0", baseline="zero"), "text": "1"}, "pin": [5, 6]})
    fit(tmp_path, watch, module=Ill())
    note = "dime: 12 of 16 masks gave outputs that are NaN or infinite; the model does not accept the baseline. "
    assert [row.note for row in watch.history] == [f"{note}Choose another one with Modality(baseline=...)."] * 2
    assert [[found.position for found in entry.explanations] for entry in watch.explanation_history.entries] == [
        [6],
        [6],
    ]
    assert sorted(written(sinks[0])) == expected(watch)


class Stop(Callback):
    """Ends the training in its second epoch."""

    def __init__(self, error):
        self.error = error

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2:
            raise self.error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "seen"), few([(KeyboardInterrupt(), SystemExit), (ValueError("broken"), ValueError)])
)
def test_a_training_that_breaks_off_leaves_its_films(tmp_path, sinks, error, seen):
    watch = watching()
    with pytest.raises(seen):
        fit(tmp_path, watch, Stop(error), max_epochs=5)
    assert [entry.epoch for entry in watch.explanation_history.entries] == [0]
    assert sum("over_epochs" in key for key in written(sinks[0])) == 2
    assert "summary" in written(sinks[0])


def test_fast_dev_run_explains_and_writes_nothing(tmp_path):
    watch = watching({"num_examples": 16})
    fit(tmp_path, watch, fast_dev_run=True)
    assert len(watch.explanation_history.entries) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
