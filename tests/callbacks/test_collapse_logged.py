"""What loggers, files and pictures hold of an alarm, read back."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import wandb
from helpers.collapsing import Known, alarm, fit, states, train, unheard, watching
from helpers.toy import trainer
from helpers.wandb_file import history, records
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from mviz_lightning import MonitorWarning
from mviz_lightning.sinks import TensorBoardSink
from mviz_lightning.sinks.records import Alert
from mviz_lightning.testing import MemorySink

PLAN = "- text text - text text"
"""Told at the third validation, withdrawn at the fourth, told again at the sixth."""

LOST = "; the model no longer relies on it, though it is informative"

pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a wandb run already in progress", "ignore::DeprecationWarning:wandb.*"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One training that TensorBoard, CSV, an offline W&B run and files all saw, read back."""
    folder = tmp_path_factory.mktemp("all")
    watch = watching()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder / "data"))
        patch.setenv("WANDB_MODE", "offline")
        wandb.setup(wandb.Settings(mode="offline", silent=True))
        try:
            loggers = [
                TensorBoardLogger(folder, name="tb"),
                CSVLogger(folder, name="csv"),
                WandbLogger(save_dir=folder, offline=True, project="t"),
            ]
            train(folder, PLAN, watch, alarm(), logger=loggers)
        finally:
            wandb.finish()
            wandb.teardown()
    (file,) = folder.rglob("offline-run-*/run-*.wandb")
    with (folder / "csv" / "version_0" / "metrics.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    sizes = dict.fromkeys(("tensors", "scalars"), 0)
    return SimpleNamespace(
        watch=watch,
        events=EventAccumulator(str(folder / "tb" / "version_0"), size_guidance=sizes).Reload(),
        files=folder / "tb" / "version_0" / "mviz",
        csv=rows,
        rows=history(folder),
        alerts=[record.alert for record in records(file) if record.HasField("alert")],
        media=file.parent / "files",
    )


@pytest.fixture(scope="module")
def x(run):
    return [event.step for event in run.events.Scalars("val_loss")]


def test_the_row_of_the_validation_loss_holds_the_states(run, x):
    assert states(run.watch) == [0, 0, 2, 0, 0, 2]
    losses = [row for row in run.csv if row["val_loss"]]
    assert [float(row["mviz/collapse/text"]) for row in losses] == states(run.watch)
    assert [float(row["mviz/collapse/image"]) for row in losses] == [0] * 6
    assert [event.value for event in run.events.Scalars("mviz/collapse/text")] == states(run.watch)
    assert [event.step for event in run.events.Scalars("mviz/collapse/text")] == x
    online = [row for row in run.rows if "val_loss" in row]
    assert [row["mviz/collapse/text"] for row in online] == states(run.watch)


def test_tensorboard_shows_the_alarm_as_a_text_at_the_validation(run, x):
    found = run.events.Tensors("mviz/alarm/text/text_summary")
    assert [event.step for event in found] == [x[2], x[3], x[5]]
    texts = [event.tensor_proto.string_val[0].decode() for event in found]
    assert [text.splitlines()[0] for text in texts] == [
        "**text: collapsed**",
        "**text: used**",
        "**text: collapsed**",
    ]
    assert f"since epoch 1 (step {x[1]})" in texts[0]
    assert f"since epoch 4 (step {x[4]})" in texts[2]
    assert not [tag for tag in run.events.Tags()["tensors"] if "alarm/image" in tag]


def test_tensorboard_arranges_the_states_in_a_diagram(run):
    (event,) = run.events.Tensors("custom_scalars__config__")
    (category,) = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]).category
    (chart,) = [chart for chart in category.chart if "collapsed" in chart.title]
    assert list(chart.multiline.tag) == ["^mviz/collapse/image$", "^mviz/collapse/text$"]


@pytest.mark.slow
def test_wandb_is_alerted(run):
    assert [(alert.title, alert.level) for alert in run.alerts] == [
        ("text: collapsed", "WARN"),
        ("text: used", "INFO"),
        ("text: collapsed", "WARN"),
    ]
    assert "What to try:" in run.alerts[0].text
    assert [alert.wait_duration for alert in run.alerts] == [1] * 3  # ms; by default the third would be dropped


@pytest.mark.slow
def test_wandb_holds_the_text_in_the_row_of_the_validation_loss(run, x):
    """Under a key of its own: a scalar of the same key in the same row would take its place."""
    found = [(row, key) for row in run.rows for key in row if key.startswith("mviz/alarm/text") and ".path" in key]
    assert [(row["trainer/global_step"], "val_loss" in row) for row, _ in found] == [(x[k], True) for k in (2, 3, 5)]
    assert "modality dropout: hide image" in (run.media / found[0][0][found[0][1]]).read_text()


def test_a_file_holds_alarm_all_clear_and_second_alarm_in_order(run, x):
    words = (run.files / "alarm" / "text.txt").read_text()
    entries = re.split(r"^(?=step )", words, flags=re.MULTILINE)[1:]
    assert [entry.splitlines()[:3] for entry in entries] == [
        [f"step {x[place]}: text: {state}", "", f"text: {state} since epoch {since} (step {x[since]}){rest}"]
        for place, state, since, rest in [(2, "collapsed", 1, LOST), (3, "used", 3, ""), (5, "collapsed", 4, LOST)]
    ]
    assert ["What to try:" in entry for entry in entries] == [True, False, True]


def test_a_file_holds_an_alarm_and_the_summary_the_conclusion(run):
    assert not (run.files / "alarm" / "image.txt").exists()
    *_, image, text, fence = (run.files / "summary.md").read_text().splitlines()
    assert (image, fence) == ("image: used", "```")
    assert text.startswith("text: collapsed since epoch 4 (step 19); the model no longer relies on it, though it is")
    lines = [json.loads(line) for line in (run.files / "history.jsonl").read_text().splitlines()]
    assert [line["values"]["collapse/text"] for line in lines] == states(run.watch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_training_that_is_resumed_in_its_folder_keeps_what_was_said_before(tmp_path):
    path, logged = tmp_path / "last.ckpt", {"name": "", "version": "run"}
    first = train(tmp_path, "- text text", watching(), alarm(), logger=CSVLogger(tmp_path, **logged))
    first.save_checkpoint(path)
    logger = TensorBoardLogger(tmp_path, **logged)
    chosen = trainer(tmp_path, watching(), alarm(), max_epochs=6, logger=logger)
    with unheard():
        fit(chosen, Known("- text text"), path=path)
    words = (tmp_path / "run" / "mviz" / "alarm" / "text.txt").read_text()
    assert re.findall(r"^step (\d+): text: (\w+)$", words, re.MULTILINE) == [
        ("11", "collapsed"),
        ("15", "used"),
        ("23", "collapsed"),
    ]


class Attach(Callback):
    """Gives the monitor a sink more."""

    def __init__(self, watch, sink):
        self.watch, self.sink = watch, sink

    def on_fit_start(self, trainer, module):
        self.watch._run.reporter.sinks = [self.sink, *self.watch._run.reporter.sinks]


def drawn(folder, plan, *callbacks, known=None):
    watch, sink = watching(pictures_every_n_validations=9), MemorySink()
    train(folder, plan, Attach(watch, sink), watch, *callbacks, known=known)
    return sink.images[-1][0].pixels, sink


@pytest.mark.slow
def test_the_picture_marks_runs_that_do_not_use_a_modality_and_those_only(tmp_path):
    plain, _ = drawn(tmp_path / "plain", "- text text")
    marked, sink = drawn(tmp_path / "marked", "- text text", alarm())
    notice, _ = drawn(tmp_path / "notice", "- text text", alarm(expected=["image"]))
    assert plain.shape[1:] == marked.shape[1:]  # a line of the legend makes it taller
    pairs = [(plain, marked), (plain, notice), (marked, notice)]
    assert not any(np.array_equal(left, right) for left, right in pairs)
    healthy = [drawn(tmp_path / f"{k}", "- - -", *given)[0] for k, given in enumerate(([], [alarm()]))]
    assert (healthy[0] == healthy[1]).all()
    (told,) = [record for record in sink.records if isinstance(record[0], Alert)]
    assert (told[0].key, told[0].urgent, told[1:]) == ("mviz/alarm/text", True, (11, True))


class Down:
    """A logger that cannot be reached."""

    @property
    def experiment(self):
        raise ConnectionError("the logger is down")


@pytest.mark.slow
def test_a_logger_that_is_down_costs_neither_the_alarm_nor_the_stop(tmp_path):
    watch = watching()
    chosen = trainer(tmp_path, Attach(watch, TensorBoardSink(Down())), watch, alarm(action="stop"), max_epochs=4)
    with pytest.warns(MonitorWarning, match="the logger is down"), unheard():
        fit(chosen, Known("- text text"))
    assert chosen.current_epoch == 3
    assert (tmp_path / "mviz" / "version_0" / "alarm" / "text.txt").exists()


@pytest.mark.slow
def test_without_loggers_and_in_a_dev_run_nothing_is_written_that_should_not_be(tmp_path):
    train(tmp_path / "none", "text text", watching(), alarm())
    assert (tmp_path / "none" / "mviz" / "version_0" / "alarm" / "text.txt").exists()
    watch = watching()
    train(tmp_path / "dev", "text", watch, alarm(patience=1, expected=["text"]), fast_dev_run=True)
    assert states(watch) == [2]
    assert not list((tmp_path / "dev").rglob("*.txt"))
