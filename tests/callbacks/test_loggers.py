"""What loggers and files hold afterwards, read back from disk."""

import csv
import json
import re
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import wandb
from helpers.few import few
from helpers.toy import fit, monitor
from helpers.wandb_file import history
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL.Image import open as open_picture
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from mviz_lightning.explainers import DIME

WANDB = ("ignore:There is a wandb run already in progress", "ignore::DeprecationWarning:wandb.*")
EVERY_SECOND = {"explainers": [DIME(num_examples=2, every_n_validations=2)], "class_names": ["low", "mid", "high"]}


def picture(source):
    with open_picture(source) as image:
        return np.asarray(image.convert("RGB"))


def events(folder):
    return EventAccumulator(str(folder), size_guidance=dict.fromkeys(("images", "tensors", "scalars"), 0)).Reload()


def steps(found):
    return [event.step for event in found]


def texts(found, key):
    tensors = found.Tensors(f"{key}/text_summary")
    return {event.step: event.tensor_proto.string_val[0].decode() for event in tensors}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One training of four validations that TensorBoard, an offline W&B run and files all saw, read back."""
    folder = tmp_path_factory.mktemp("both")
    watch = monitor(**EVERY_SECOND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder / "data"))
        patch.setenv("WANDB_MODE", "offline")  # Lightning sets it and leaves it
        wandb.setup(wandb.Settings(mode="offline", silent=True))
        try:
            loggers = [TensorBoardLogger(folder, name="tb"), WandbLogger(save_dir=folder, offline=True, project="t")]
            fit(folder, watch, logger=loggers, max_epochs=4)
        finally:
            wandb.finish()
            wandb.teardown()  # waits until the file is whole; finish() alone does not
    (file,) = folder.rglob("offline-run-*/run-*.wandb")
    return SimpleNamespace(
        watch=watch,
        events=events(folder / "tb" / "version_0"),
        files=folder / "tb" / "version_0" / "mviz",
        rows=history(folder),
        media=file.parent / "files",
    )


pytestmark = pytest.mark.filterwarnings(*WANDB)


@pytest.fixture(scope="module")
def x(run):
    """Lightning's own x of the four validations."""
    return steps(run.events.Scalars("val_loss"))


@pytest.fixture(scope="module")
def end(run):
    """Where the explanations at the end of the training lie."""
    return run.watch.explanation_history.entries[-1].step


@pytest.fixture(scope="module")
def keys(run):
    positions = [found.position for found in run.watch.explanation_history.entries[0].explanations]
    assert len(set(positions)) == 2
    return [f"mviz/dime/example_{position}" for position in positions]


def test_nothing_went_wrong_in_the_training_that_all_loggers_saw(run, x):
    assert [row.step for row in run.watch.history] == x
    assert [row.note for row in run.watch.history] == [""] * 4


def test_the_end_of_the_training_lies_where_lightning_puts_its_last_validation(x, end):
    assert end == x[3]  # the same weights, so the same x


def test_tensorboard_holds_each_picture_once_where_the_validation_loss_stands(run, x, end, keys):
    for key in keys:
        assert steps(run.events.Images(key)) == [x[0], x[2], end]
        assert steps(run.events.Images(f"{key}_over_epochs")) == [end]
    assert steps(run.events.Images("mviz/shares")) == [x[0], x[3]]
    assert len(run.events.Tags()["images"]) == 5


def test_tensorboard_holds_the_table_of_the_examples_and_the_history_as_texts(run, x, end, keys):
    tables = texts(run.events, "mviz/dime/examples")
    assert list(tables) == [x[0], x[2], end]
    head, _, *lines = tables[x[0]].splitlines()
    assert head.split(" | ")[:4] == ["| when", "example", "target", "predicted"]
    assert {line.split(" | ")[1] for line in lines} == {key.rpartition("_")[2] for key in keys}
    assert all(line.split(" | ")[2] in EVERY_SECOND["class_names"] for line in lines)
    (summary,) = texts(run.events, "mviz/summary").values()
    assert [line.split()[:2] for line in summary.splitlines()[2:6]] == [[str(k), str(x[k])] for k in range(4)]


def test_tensorboard_arranges_the_curves_once_under_keys_that_are_logged(run):
    (event,) = run.events.Tensors("custom_scalars__config__")
    (category,) = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]).category
    patterns = [tag for chart in category.chart for tag in chart.multiline.tag]
    lines = {tag for tag in run.events.Tags()["scalars"] if any(re.match(pattern, tag) for pattern in patterns)}
    bands = [band for chart in category.chart for band in chart.margin.series]
    tags = lines | {tag for band in bands for tag in (band.value, band.lower, band.upper)}
    assert {"mviz/interaction", "mviz/score", "mviz/perceptual/text"} <= lines
    assert "mviz/total_low/image" in tags
    assert tags <= set(run.events.Tags()["scalars"])


def test_wandb_holds_the_values_in_the_rows_of_the_validation_loss(run, x):
    losses = [row for row in run.rows if "val_loss" in row]
    assert [row["trainer/global_step"] for row in losses] == x
    assert [row["trainer/global_step"] for row in run.rows if "mviz/interaction" in row] == x
    for row, found in zip(losses, run.watch.history, strict=True):
        assert row["mviz/interaction"] == pytest.approx(found.values["interaction"], rel=1e-5)


@pytest.mark.slow
def test_wandb_holds_the_media_of_a_validation_in_the_row_of_its_loss(run, x, end, keys):
    together = [*keys, "mviz/dime/examples"]
    rows = [row for row in run.rows if f"{keys[0]}.path" in row]
    assert [row["trainer/global_step"] for row in rows] == [x[0], x[2], end]
    assert all(f"{key}.path" in row for row in rows for key in together)
    assert ["val_loss" in row and "mviz/interaction" in row for row in rows] == [True, True, False]
    shares = [row for row in run.rows if "mviz/shares.path" in row]
    assert [(row["trainer/global_step"], "val_loss" in row) for row in shares] == [(x[0], True), (x[3], False)]


def test_wandb_holds_the_films_with_the_summary_in_a_row_of_their_own(run, end, keys):
    (row,) = [row for row in run.rows if f"{keys[0]}_over_epochs.path" in row]
    media = {key.partition(".")[0] for key in row if key[0] != "_"}
    assert media == {"trainer/global_step", "mviz/summary", *(f"{key}_over_epochs" for key in keys)}
    assert row["trainer/global_step"] == end


def test_loggers_and_files_hold_the_same_pixels(run, keys):
    for key in [*keys, "mviz/shares", *(f"{key}_over_epochs" for key in keys)]:
        shown = [picture(BytesIO(event.encoded_image_string)) for event in run.events.Images(key)]
        online = [picture(run.media / row[f"{key}.path"]) for row in run.rows if f"{key}.path" in row]
        name = key.removeprefix("mviz/")
        files = sorted(run.files.glob(f"{name}_step_*.png")) or [run.files / f"{name}.png"]
        kept = [picture(file) for file in files]
        np.testing.assert_array_equal(shown[-1], kept[-1])
        for left, right in zip(shown, online, strict=True):
            np.testing.assert_array_equal(left, right)
        assert all(pixels.std() > 25 for pixels in online)  # float images come out black
        assert len(kept) == (3 if key in keys else 1)


def test_the_last_rows_of_wandbs_growing_table_are_those_of_the_files(run, keys):
    paths = [row["mviz/dime/examples.path"] for row in run.rows if "mviz/dime/examples.path" in row]
    assert len(set(paths)) == 3
    table = json.loads((run.media / paths[-1]).read_text(), parse_constant=pytest.fail)
    with (run.files / "dime" / "examples.csv").open(newline="") as file:
        head, *lines = csv.reader(file)
    shown = [place for place, name in enumerate(table["columns"]) if name not in {"step", "picture"}]
    assert head == [table["columns"][place] for place in shown]
    left = [[str(row[place]) for place in shown] for row in table["data"]]
    steps = {row[0] for row in table["data"]} if table["columns"][0] == "step" else set()  # W&B before 0.20 has none
    assert steps <= {run.watch.history[-1].step}
    assert left == lines
    assert {line[1] for line in lines} == {key.rpartition("_")[2] for key in keys}


def test_wandb_shows_the_caption_with_the_names_of_the_classes(run, keys):
    (row, *_) = [row for row in run.rows if f"{keys[0]}.path" in row]
    assert row[f"{keys[0]}.caption"].startswith(f"Example {keys[0].rpartition('_')[2]}, epoch 0 (step ")
    found = run.watch.explanation_history.entries[0].explanations[0]
    assert f", target {EVERY_SECOND['class_names'][found.target]}" in row[f"{keys[0]}.caption"]


def below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("logger", few([CSVLogger, None]), ids=["CSV", "none"])
def test_without_a_logger_for_pictures_the_files_hold_all(tmp_path, logger):
    watch = monitor(explainers=[DIME(num_examples=1, every_n_validations=5)])
    fit(tmp_path, watch, logger=logger(tmp_path, name="csv") if logger else False)
    folder = tmp_path / ("csv/version_0/mviz" if logger else "mviz/version_0")
    example = f"dime/example_{watch.explanation_history.entries[0].explanations[0].position}"
    kept = [f"{example}_step_{entry.step:08d}.png" for entry in watch.explanation_history.entries]
    others = ["dime/examples.csv", "dime/how_to_read.md", "how_to_read.md", "report.html", "shares.png", "summary.md"]
    others += ["examples.jsonl", "explanations.jsonl", "history.jsonl", "run.json"]
    assert len(kept) == 2
    assert below(folder) == sorted([f"{example}_over_epochs.png", *kept, *others])


def test_files_hold_every_run_as_strict_json_and_the_latest_picture(tmp_path):
    watch = monitor()
    fit(tmp_path, watch)
    folder = tmp_path / "mviz" / "version_0"
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert lines[1]["values"]["interaction"] == watch.history[1].values["interaction"]
    assert picture(folder / "shares.png").std() > 25


def test_runs_without_a_logger_get_folders_of_their_own(tmp_path):
    for _ in range(2):
        fit(tmp_path, monitor(), max_epochs=1)
    assert sorted(path.name for path in (tmp_path / "mviz").iterdir()) == ["version_0", "version_1"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["version_²", "version_٣", "version_1_old", "version_", "version_-4", "version_x"])
def test_a_folder_whose_name_ends_in_no_number_is_passed_by(tmp_path, name):
    for taken in (name, "version_0"):
        (tmp_path / "mviz" / taken).mkdir(parents=True)
    fit(tmp_path, monitor(), max_epochs=1)
    assert [path.parent.name for path in tmp_path.rglob("history.jsonl")] == ["version_1"]


def test_files_lie_beside_the_first_logger(tmp_path):
    loggers = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="tb")]
    fit(tmp_path, monitor(), logger=loggers, max_epochs=1)
    assert (tmp_path / "csv" / "version_0" / "mviz" / "history.jsonl").exists()
    assert "mviz/shares" in events(tmp_path / "tb" / "version_0").Tags()["images"]


def test_pictures_come_at_their_cadence_and_at_the_end(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="tb")
    fit(tmp_path, monitor(pictures_every_n_validations=2), logger=logger, max_epochs=4)
    found = events(tmp_path / "tb" / "version_0")
    validations = steps(found.Scalars("val_loss"))
    assert steps(found.Images("mviz/shares")) == [validations[0], validations[2], validations[3]]
