"""What loggers and files hold of each record, read back from disk."""

import csv
import json
from importlib import import_module
from inspect import signature
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import wandb
from helpers.wandb_file import history, records
from PIL.Image import open as open_picture
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from mviz_lightning.sinks import FileSink, SinkError, TensorBoardSink, WandbSink, sinks_for
from mviz_lightning.sinks.records import Alert, Chart, Dashboard, MarkdownText, Picture, RunRecord, Table
from mviz_lightning.sinks.wandb import _GrowingTables
from mviz_lightning.testing import MemorySink

NAMESPACES = ["lightning.pytorch", "pytorch_lightning"]
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
SMALL = [RANDOM.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in range(2)]
LINE = RANDOM.integers(0, 256, (1, 5, 3), dtype=np.uint8)

SHARES = Picture("mviz/shares", PIXELS, "épöch 3")
EXAMPLES = Table(
    "mviz/examples",
    ["text", "share", "count", "picture"],
    [["a|b\n<em>*c*</em> &amp; _d_ `e` [f](g) \\", 0.12345, 3, SMALL[0]], ["", float("nan"), 4, SMALL[1]]],
)
REPORT = MarkdownText("mviz/report", "# Title\n\n*ä* <script>alert(1)</script> 😀")
MIXED = Table("mviz/mixed", ["a"], [[1.0], ["one"]])
RAGGED = Table("mviz/ragged", ["a", "b"], [["x"]])
FLOATS = Picture("mviz/floats", np.full((4, 4, 3), 0.5))
DASHBOARD = Dashboard(
    "mviz",
    [
        Chart("Shares", ["mviz/a", "mviz/b"]),
        Chart("Interaction", ["mviz/i", "mviz/i_low", "mviz/i_high"], band=True),
    ],
)


def picture(source):
    with open_picture(source) as image:
        return np.asarray(image.convert("RGB"))


def logger_of(namespace, kind, **settings):
    pytest.importorskip(namespace)
    return getattr(import_module(f"{namespace}.loggers"), kind)(**settings)


class Down:
    """A logger that cannot be reached."""

    @property
    def experiment(self):
        raise ConnectionError("the logger is down")


# TensorBoard


def board(namespace, folder, **settings):
    return logger_of(namespace, "TensorBoardLogger", save_dir=folder, name="", version="", **settings)


def events(folder):
    sizes = dict.fromkeys(("images", "tensors", "scalars"), 0)
    return EventAccumulator(str(folder), size_guidance=sizes).Reload()


def text_at(found, key):
    (event,) = found.Tensors(f"{key}/text_summary")
    (value,) = event.tensor_proto.string_val
    return event.step, value.decode()


def layouts(found):
    return [
        layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
        for event in found.Tensors("custom_scalars__config__")
    ]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_tensorboard_holds_each_record_once_at_its_step(tmp_path, namespace):
    logger = board(namespace, tmp_path)
    _, sink = sinks_for([logger], tmp_path / "files")
    sink.write([SHARES, EXAMPLES, REPORT], 7)
    sink.write([SHARES], 9, with_trainer_row=True)
    logger.finalize("success")
    found = events(tmp_path)
    assert [event.step for event in found.Images("mviz/shares")] == [7, 9]
    for event in found.Images("mviz/shares"):
        np.testing.assert_array_equal(picture(BytesIO(event.encoded_image_string)), PIXELS)
    assert text_at(found, "mviz/report") == (7, REPORT.markdown)
    step, text = text_at(found, "mviz/examples")
    assert (step, text.splitlines()[0]) == (7, "| text | share | count |")


@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")
def test_cells_come_through_tensorboards_markdown_as_they_are(tmp_path):
    from tensorboard.plugin_util import markdown_to_safe_html

    logger = board("lightning.pytorch", tmp_path)
    TensorBoardSink(logger).write([EXAMPLES], 0)
    logger.finalize("success")
    shown = markdown_to_safe_html(text_at(events(tmp_path), "mviz/examples")[1])
    cells = [line.removeprefix("<td>").removesuffix("</td>") for line in shown.splitlines() if line.startswith("<td>")]
    assert cells == ["a|b &lt;em&gt;*c*&lt;/em&gt; &amp;amp; _d_ `e` [f](g) \\", "0.123", "3", "", "nan", "4"]


def test_the_text_of_an_alarm_that_ended_stands_beside_its_all_clear(tmp_path):
    logger = board("lightning.pytorch", tmp_path)
    _, sink = sinks_for([logger], tmp_path / "files")
    sink.write([Alert("mviz/alarm/a", "a: collapsed", "try this", urgent=True)], 7)
    sink.write([Alert("mviz/alarm/a", "a: used", "all is well", urgent=False)], 9)
    sink.write([Alert("mviz/alarm/b", "b: unused", "a notice", urgent=False)], 9)
    logger.finalize("success")
    found = events(tmp_path)
    first, last = (event.tensor_proto.string_val[0].decode() for event in found.Tensors("mviz/alarm/a/text_summary"))
    assert first == "**a: collapsed**\n\n```\ntry this\n```"
    told = "all is well\n\nThe last alarm, at step 7: a: collapsed\ntry this"
    assert last == f"**a: used**\n\n```\n{told}\n```"
    assert "last alarm" not in text_at(found, "mviz/alarm/b")[1]


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_tensorboard_arranges_curves_and_bands_once(tmp_path, namespace):
    logger = board(namespace, tmp_path)
    for _ in range(2):  # a logger outlives the sinks of a run
        TensorBoardSink(logger).open(DASHBOARD)
    logger.finalize("success")
    (layout,) = layouts(events(tmp_path))
    (category,) = layout.category
    shares, interaction = category.chart
    assert (category.title, shares.title, interaction.title) == ("mviz", "Shares", "Interaction")
    assert list(shares.multiline.tag) == ["^mviz/a$", "^mviz/b$"]
    (band,) = interaction.margin.series
    assert (band.value, band.lower, band.upper) == ("mviz/i", "mviz/i_low", "mviz/i_high")


def test_monitors_side_by_side_are_both_arranged_in_the_latest_layout(tmp_path):
    logger = board("lightning.pytorch", tmp_path)
    TensorBoardSink(logger).open(DASHBOARD)
    TensorBoardSink(logger).open(Dashboard("other", [Chart("Shares", ["other/a"])]))
    TensorBoardSink(logger).open(Dashboard("bare", []))
    logger.finalize("success")
    latest = layouts(events(tmp_path))[-1]
    assert [category.title for category in latest.category] == ["mviz", "other"]


def test_a_prefix_of_the_logger_stands_before_records_and_curves_alike(tmp_path):
    logger = board("lightning.pytorch", tmp_path, prefix="run")
    sink = TensorBoardSink(logger)
    sink.open(DASHBOARD)
    sink.write([SHARES], 1)
    logger.log_metrics({"mviz/a": 0.5}, step=1)
    logger.finalize("success")
    found = events(tmp_path)
    assert (found.Tags()["scalars"], found.Tags()["images"]) == (["run-mviz/a"], ["run-mviz/shares"])
    assert layouts(found)[0].category[0].chart[0].multiline.tag[0] == r"^run\-mviz/a$"


def test_tensorboard_holds_the_very_file(tmp_path):
    logger = board("lightning.pytorch", tmp_path)
    sink = TensorBoardSink(logger)
    sink.write([SHARES], 3)
    logger.experiment.close()  # as at the end of a training; what comes later opens a file of its own
    sink.write([SHARES], 4)
    sink.write([SHARES], 5)
    logger.experiment.flush()
    # Files of one second are read in the order of their running numbers as text: "10" before "9".
    first, second, third = sorted(events(tmp_path).Images("mviz/shares"), key=attrgetter("step"))
    assert first.encoded_image_string == third.encoded_image_string == SHARES.png
    assert (first.width, first.height, first.step, second.step, third.step) == (5, 6, 3, 4, 5)
    np.testing.assert_array_equal(picture(BytesIO(second.encoded_image_string)), PIXELS)


def test_a_writer_of_another_package_gets_the_pixels():
    """As tensorboardX, whose protocol buffers are others."""
    got = []

    class Writer:
        file_writer = object()

        def add_image(self, *given, **settings):
            got.append((*given, settings))

    class Logger:
        experiment = Writer()

    TensorBoardSink(Logger()).write([SHARES], 7)
    ((key, pixels, step, settings),) = got
    assert (key, step, settings) == ("mviz/shares", 7, {"dataformats": "HWC"})
    assert pixels is PIXELS


def test_a_record_that_tensorboard_refuses_costs_no_other(tmp_path):
    logger = board("lightning.pytorch", tmp_path)
    with pytest.raises(SinkError, match=r"^mviz/ragged not written: ValueError: .*shorter") as caught:
        TensorBoardSink(logger).write([RAGGED, REPORT, SHARES], 0)
    assert isinstance(caught.value.__cause__, ValueError)
    logger.finalize("success")
    found = events(tmp_path)
    assert found.Tags()["images"] == ["mviz/shares"]
    assert text_at(found, "mviz/report")[0] == 0


# Weights & Biases


def write_all(logger, folder):
    """Write as a training does."""
    (sink,) = (sink for sink in sinks_for([logger], folder) if isinstance(sink, WandbSink))
    sink.open(DASHBOARD)
    with pytest.raises(SinkError, match=r"^mviz/mixed not written: TypeError"):
        sink.write([MIXED, SHARES, EXAMPLES], 10, with_trainer_row=True)
    sink.write([REPORT], 10, with_trainer_row=True)
    logger.log_metrics({"val_loss": 0.5, "mviz/a": 0.25}, step=10)
    logger.log_metrics({"train_loss": 0.5}, step=12)
    with pytest.raises(SinkError, match=r"^mviz/floats not written: TypeError"):
        sink.write([EXAMPLES, FLOATS, Picture("mviz/line", LINE)], 13)
    logger.log_metrics({"train_loss": 0.4}, step=15)


def read_all(folder):
    """Return what the only offline run below a folder holds."""
    (file,) = folder.rglob("offline-run-*/run-*.wandb")
    parts, rows = list(records(file)), history(folder)
    return SimpleNamespace(
        files=file.parent / "files",
        rows={row["trainer/global_step"]: row for row in rows},
        count=len(rows),
        metrics=[part.metric for part in parts if part.HasField("metric")],
        artifacts=[part.request.log_artifact.artifact for part in parts if part.request.HasField("log_artifact")]
        + [part.artifact for part in parts if part.HasField("artifact")],
    )


@pytest.fixture(scope="module", params=["lightning.pytorch", "pytorch_lightning, in a run that was there before"])
def run(request, tmp_path_factory):
    """An offline run, written and closed: the next logger would take over an open one."""
    namespace, _, before = request.param.partition(",")
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder / "data"))
        patch.setenv("WANDB_MODE", "offline")  # Lightning sets it and leaves it
        wandb.setup(wandb.Settings(mode="offline", silent=True))
        try:
            if before:
                wandb.init(project="tests", dir=str(folder))
            write_all(logger_of(namespace, "WandbLogger", save_dir=folder, offline=True, project="tests"), folder)
        finally:
            wandb.finish()
            wandb.teardown()  # waits until the file is whole; finish() alone does not
    return read_all(folder)


pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a wandb run already in progress",
    "ignore::DeprecationWarning:wandb.*",
)


def test_records_that_join_lie_in_the_trainers_row(run):
    row = run.rows[10]
    assert (row["val_loss"], row["mviz/a"]) == (0.5, 0.25)
    assert {"mviz/shares.path", "mviz/examples.path", "mviz/report.path"} <= set(row)
    assert run.count == len(run.rows) == 4


def test_other_records_have_a_row_of_their_own(run):
    assert {key.partition(".")[0] for key in run.rows[13] if key[0] != "_"} == {
        "trainer/global_step",
        "mviz/examples",
        "mviz/line",
    }
    assert [run.rows[step]["train_loss"] for step in (12, 15)] == [0.5, 0.4]


def test_wandb_holds_the_pixels_and_the_caption(run):
    row = run.rows[10]
    np.testing.assert_array_equal(picture(run.files / row["mviz/shares.path"]), PIXELS)
    assert row["mviz/shares.caption"] == "épöch 3"
    np.testing.assert_array_equal(picture(run.files / run.rows[13]["mviz/line.path"]), LINE)
    assert "mviz/line.caption" not in run.rows[13]


GROWING = "log_mode" in signature(wandb.Table).parameters
"""Whether this W&B has incremental tables."""


def test_wandb_holds_the_rows_of_each_step_once_with_their_pictures(run):
    """A table grows by the rows of a step; with an older W&B, each step has a table of its own."""
    steps, paths = (10, 13), [run.rows[step]["mviz/examples.path"] for step in (10, 13)]
    assert len(set(paths)) == 2
    for step, path in zip(steps, paths, strict=True):
        table = json.loads((run.files / path).read_text(), parse_constant=pytest.fail)
        told = [step] * GROWING
        assert table["columns"] == ["step"] * GROWING + EXAMPLES.columns
        assert [row[:-1] for row in table["data"]] == [told + EXAMPLES.rows[0][:3], [*told, "", None, 4]]
    assert len(run.artifacts) == 2
    assert len({artifact.name for artifact in run.artifacts}) == 1
    for artifact in run.artifacts:
        contents = {entry.path: entry.local_path for entry in artifact.manifest.contents}
        (name,) = (path for path in contents if path.endswith("mviz/examples.table.json"))
        table = json.loads(Path(contents[name]).read_text(encoding="utf-8"))
        for cells, pixels in zip(table["data"], SMALL, strict=True):
            np.testing.assert_array_equal(picture(contents[cells[-1]["path"]]), pixels)


@pytest.mark.skipif(not GROWING, reason="this W&B has no incremental tables")
def test_a_table_that_grows_keeps_no_written_rows_and_survives_rows_of_another_type():
    tables = _GrowingTables()
    table = tables.table("mviz/x", ["a"], [[1.0], [2.0]], 5)
    assert table.data == [[5, 1.0], [5, 2.0]]
    with pytest.raises(TypeError):
        tables.table("mviz/x", ["a"], [[3.0], ["three"]], 6)
    assert tables.table("mviz/x", ["a"], [[4.0]], 7) is table
    assert table.data == [[], [], [7, 4.0]]


@pytest.mark.skipif(not GROWING, reason="this W&B has no incremental tables")
def test_a_table_whose_columns_change_is_written_anew_from_then_on():
    tables = _GrowingTables()
    tables.table("mviz/x", ["a"], [[1.0]], 5)
    others = [tables.table("mviz/x", columns, [[1.0] * len(columns)], 6) for columns in (["a", "b"], ["a"])]
    assert [(one.columns, one.data, one.log_mode) for one in others] == [
        (["a", "b"], [[1.0, 1.0]], "IMMUTABLE"),
        (["a"], [[1.0]], "IMMUTABLE"),
    ]


def test_wandb_shows_a_text_as_it_is(run):
    page = (run.files / run.rows[10]["mviz/report.path"]).read_bytes().decode("ascii")
    assert "# Title\n\n*&#228;* &lt;script&gt;alert(1)&lt;/script&gt; &#128512;</pre>" in page
    assert "<script" not in page


def test_wandb_knows_the_x_axis_of_the_monitors_curves(run):
    assert "trainer/global_step" in [metric.name for metric in run.metrics]
    (own,) = (metric for metric in run.metrics if metric.glob_name == "mviz/*")
    assert (own.step_metric, own.options.step_sync) == ("trainer/global_step", True)


class Recorder:
    """A W&B run in memory that refuses or takes."""

    def __init__(self, error=None):
        self.rows, self.metrics, self.error = [], [], error

    def log(self, row, commit=None):
        if self.error:
            raise self.error
        self.rows.append((row, commit))

    def define_metric(self, name, **settings):
        self.metrics.append(name)


def test_a_prefix_of_the_wandb_logger_is_kept():
    run = Recorder()
    sink = WandbSink(SimpleNamespace(experiment=run, _prefix="run", LOGGER_JOIN_CHAR="-"))
    sink.open(DASHBOARD)
    sink.write([SHARES], 3, with_trainer_row=True)
    ((row, commit),) = run.rows
    assert (set(row), commit) == ({"run-mviz/shares", "trainer/global_step"}, False)
    assert run.metrics == ["trainer/global_step", "run-mviz/*"]


def test_a_run_that_refuses_the_row_is_told_with_all_its_keys():
    sink = WandbSink(SimpleNamespace(experiment=Recorder(ConnectionError("gone"))))
    with pytest.raises(SinkError, match="^mviz/mixed, mviz/shares, mviz/report not written: TypeError"):
        sink.write([SHARES, MIXED, REPORT], 0)


def test_nothing_to_write_makes_no_row():
    run = Recorder()
    sink = WandbSink(SimpleNamespace(experiment=run))
    sink.write([], 0)
    with pytest.raises(SinkError):
        sink.write([MIXED], 0)
    assert run.rows == []


# Files


def test_files_lie_under_their_keys_without_the_monitors_prefix(tmp_path):
    FileSink(tmp_path / "new").write([SHARES, EXAMPLES, REPORT, Picture("mviz/deep/er/one.two", PIXELS)], 1)
    found = {path.relative_to(tmp_path / "new").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"shares.png", "examples.csv", "report.md", "deep/er/one.two.png"}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (37, 41)])
@pytest.mark.parametrize("caption", ["", "plain", '\u732b \U0001f600\n"$'])
def test_a_picture_is_a_png_file_of_its_pixels(size, caption):
    image = Picture("x", RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8), caption)
    np.testing.assert_array_equal(picture(BytesIO(image.png)), image.pixels)
    with open_picture(BytesIO(image.png)) as file:
        file.load()
        assert (file.mode, file.text) == ("RGB", {"Description": caption} if caption else {})
    assert image.png is image.png


@pytest.mark.parametrize("pixels", [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3)), np.zeros((2, 2, 1), np.uint8)])
def test_what_is_no_picture_is_no_file(pixels):
    with pytest.raises(TypeError, match=r"pixels of 'x' are \(2, 2, .\) (uint8|float64), not \(H, W, 3\) uint8"):
        _ = Picture("x", pixels).png


def test_a_picture_file_holds_pixels_and_caption(tmp_path):
    FileSink(tmp_path).write([SHARES, Picture("mviz/line", LINE)], 1)
    np.testing.assert_array_equal(picture(tmp_path / "shares.png"), PIXELS)
    np.testing.assert_array_equal(picture(tmp_path / "line.png"), LINE)
    with open_picture(tmp_path / "shares.png") as image:
        assert image.info["Description"] == "épöch 3"


def test_a_table_file_holds_all_digits_and_no_pictures(tmp_path):
    FileSink(tmp_path).write([EXAMPLES], 1)
    with (tmp_path / "examples.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["text", "share", "count"],
            [EXAMPLES.rows[0][0], "0.12345", "3"],
            ["", "nan", "4"],
        ]


def test_an_empty_table_is_its_head(tmp_path):
    FileSink(tmp_path).write([Table("mviz/none", ["a", "b"], [])], 1)
    assert (tmp_path / "none.csv").read_text() == "a,b\n"


def test_a_text_file_holds_the_markdown(tmp_path):
    FileSink(tmp_path).write([REPORT, MarkdownText("mviz/half", "a\ud800b")], 1)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == REPORT.markdown
    assert (tmp_path / "half.md").read_text(encoding="utf-8") == "a?b"


def test_the_latest_record_stands_and_kept_pictures_sort_by_step(tmp_path):
    sink = FileSink(tmp_path)
    for step in (5, 120):
        sink.write([Picture("mviz/shares", np.full_like(PIXELS, step)), MarkdownText("mviz/report", str(step))], step)
        sink.write([Picture("mviz/a/kept", np.full_like(PIXELS, step), keep=True)], step)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["a/kept_step_00000005.png", "a/kept_step_00000120.png", "report.md", "shares.png"]
    assert (tmp_path / "report.md").read_text() == "120"
    assert picture(tmp_path / "shares.png").max() == picture(tmp_path / names[1]).min() == 120
    assert picture(tmp_path / names[0]).max() == 5


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("plain", "plain.md"),
        ("mviz/", "mviz.md"),
        ("mviz/../../etc/x", "_/_/etc/x.md"),
        ("mviz//a", "a.md"),
        ('mviz/image: "a"?', "image_ _a__.md"),
        ("mviz/C:\\x", "C__x.md"),
        ("mviz/größe+1", "größe+1.md"),
        ("mviz/end. ", "end.md"),
    ],
)
def test_a_key_makes_a_name_that_file_systems_take(tmp_path, key, path):
    FileSink(tmp_path / "below").write([MarkdownText(key, "x")], 1)
    (found,) = (file for file in tmp_path.rglob("*") if file.is_file())
    assert found.relative_to(tmp_path / "below").as_posix() == path


def test_long_keys_are_cut_and_stay_apart(tmp_path):
    FileSink(tmp_path).write([Picture(f"mviz/{'界' * 300}{end}", PIXELS, keep=True) for end in "ab"], 1)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_record_that_cannot_be_a_file_costs_no_other_and_leaves_no_half(tmp_path):
    (tmp_path / "taken.md").mkdir()
    bad = Picture("mviz/bad", np.zeros((2, 2, 7), dtype=np.uint8))
    with pytest.raises(SinkError, match="^mviz/bad, mviz/taken not written: "):
        FileSink(tmp_path).write([bad, MarkdownText("mviz/taken", "x"), REPORT], 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.md", "taken.md"]


def test_a_file_stays_whole_when_its_successor_fails(tmp_path, monkeypatch):
    FileSink(tmp_path).write([REPORT], 1)

    def full(path, data):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(SinkError, match="mviz/report not written: OSError: no space left"):
        FileSink(tmp_path).write([MarkdownText("mviz/report", "new")], 2)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == REPORT.markdown


def test_rows_are_lines_of_strict_json(tmp_path):
    sink = FileSink(tmp_path / "new")
    sink.open(DASHBOARD)
    assert not (tmp_path / "new").exists()
    sink.row(RunRecord("fit", 0, 4, {"a": 0.5, "b": float("nan")}))
    sink.row(RunRecord("fit", 1, 8, note="größer"))
    lines = (tmp_path / "new" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert first == {"stage": "fit", "epoch": 0, "step": 4, "values": {"a": 0.5, "b": None}, "note": ""}
    assert second["note"] == "größer"


@pytest.mark.parametrize(("left", "kept"), [('{"stage": "fi', ['{"stage": "fi']), ('{"a": 1}', ['{"a": 1}']), ("", [])])
def test_half_a_line_that_a_crash_left_behind_swallows_no_row(tmp_path, left, kept):
    (tmp_path / "history.jsonl").write_text(left)
    for epoch in range(2):
        FileSink(tmp_path).row(RunRecord("fit", epoch, epoch))
    lines = (tmp_path / "history.jsonl").read_bytes().decode().split("\n")
    assert lines[: len(kept)] == kept
    assert [json.loads(line)["epoch"] for line in lines[len(kept) : -1]] == [0, 1]
    assert lines[-1] == ""


def test_a_file_keeps_all_alerts_of_a_modality_in_order(tmp_path):
    states = ["collapsed", "used", "collapsed"]
    for step, state in enumerate(states):
        FileSink(tmp_path).write([Alert("mviz/alarm/a", f"a: {state}", f"größer\n  {step}")], step)
    assert (tmp_path / "alarm" / "a.txt").read_text(encoding="utf-8") == (
        "step 0: a: collapsed\n\ngrößer\n  0\n\nstep 1: a: used\n\ngrößer\n  1\n\nstep 2: a: collapsed\n\ngrößer\n  2\n"
    )
    assert [path.name for path in (tmp_path / "alarm").iterdir()] == ["a.txt"]


# All of them


class TensorBoardLogger(Down):
    pass


class CSVLogger(Down):
    pass


def test_loggers_are_told_by_class_and_not_asked(tmp_path):
    class Mine(TensorBoardLogger):
        pass

    found = sinks_for([Mine(), CSVLogger(), object()], tmp_path)
    assert [type(sink) for sink in found] == [FileSink, TensorBoardSink]


@pytest.mark.parametrize("kind", [TensorBoardSink, WandbSink])
def test_a_logger_that_is_down_refuses_everything(kind):
    sink = kind(Down())
    with pytest.raises(ConnectionError):
        sink.open(DASHBOARD)
    with pytest.raises(SinkError, match="^mviz/shares, mviz/report not written: ConnectionError: the logger is down$"):
        sink.write([SHARES, REPORT], 0)


def test_the_memory_remembers_everything():
    sink, row = MemorySink(), RunRecord("fit", 0, 1)
    sink.open(DASHBOARD)
    sink.write([SHARES, REPORT], 3)
    sink.write([EXAMPLES], 4, with_trainer_row=True)
    sink.row(row)
    assert (sink.dashboards, sink.rows, sink.images) == ([DASHBOARD], [row], [(SHARES, 3)])
    assert sink.records == [(SHARES, 3, False), (REPORT, 3, False), (EXAMPLES, 4, True)]
