"""What loggers and files hold afterwards, read back from disk."""

import json

import matplotlib.image
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import fit, monitor
from wandb_file import history


@pytest.fixture
def offline(tmp_path):
    """A W&B logger without network, closed behind the test: the next would take over its run."""
    wandb.setup(wandb.Settings(mode="offline", silent=True))
    yield WandbLogger(save_dir=tmp_path, offline=True, project="tests")
    wandb.finish()
    wandb.teardown()


@pytest.mark.filterwarnings("ignore")
def test_an_offline_run_of_wandb_holds_shares_and_picture_at_the_x_of_the_validation_loss(tmp_path, offline):
    watch = monitor()
    fit(tmp_path, watch, logger=offline)
    wandb.finish()
    rows = history(tmp_path)
    losses = {row["trainer/global_step"]: row for row in rows if "val_loss" in row}
    assert [row.step for row in watch.history] == list(losses)
    for row in watch.history:
        assert losses[row.step]["mviz/interaction"] == pytest.approx(row.values["interaction"], rel=1e-5)
    pictures = [row for row in rows if "mviz/shares" in row]
    assert {row["trainer/global_step"] for row in pictures} <= set(losses)
    for row in pictures:
        (file,) = tmp_path.rglob(row["mviz/shares"]["filenames"][0].rpartition("/")[2])
        pixels = matplotlib.image.imread(file)
        assert pixels.std() > 0.1  # float images come out black


def test_files_hold_every_run_as_strict_json_and_the_latest_picture(tmp_path):
    watch = monitor()
    fit(tmp_path, watch)
    folder = tmp_path / "mviz" / "version_0"
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert lines[1]["values"]["interaction"] == watch.history[1].values["interaction"]
    assert matplotlib.image.imread(folder / "shares.png").shape[2] in (3, 4)


def test_runs_without_a_logger_get_folders_of_their_own(tmp_path):
    for _ in range(2):
        fit(tmp_path, monitor(), max_epochs=1)
    assert sorted(path.name for path in (tmp_path / "mviz").iterdir()) == ["version_0", "version_1"]


def test_files_lie_beside_the_first_logger(tmp_path):
    loggers = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="tb")]
    fit(tmp_path, monitor(), logger=loggers, max_epochs=1)
    assert (tmp_path / "csv" / "version_0" / "mviz" / "history.jsonl").exists()
    events = EventAccumulator(str(tmp_path / "tb" / "version_0")).Reload()
    assert "mviz/shares" in events.Tags()["images"]


def test_pictures_come_at_their_cadence_and_at_the_end(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="tb")
    fit(tmp_path, monitor(pictures_every_n_validations=2), logger=logger, max_epochs=4)
    events = EventAccumulator(str(tmp_path / "tb" / "version_0"), size_guidance={"images": 0}).Reload()
    steps = [event.step for event in events.Scalars("val_loss")]
    assert sorted({event.step for event in events.Images("mviz/shares")}) == [steps[0], steps[2], steps[3]]
