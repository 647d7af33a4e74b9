"""A training that resumes within an epoch has the runs of one that never stopped; what Lightning leaves out is said."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.toy import Toy, loader, monitor, trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mviz_lightning import MultimodalMonitor
from mviz_lightning.callbacks import trainer_facts

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings(
        "ignore:MultimodalMonitor. the monitor never ran"
    ),  # where the only validation is left out
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
]

SETTINGS: dict[str, dict[str, Any]] = {
    "within an epoch": {"val_check_interval": 4},
    "over epochs": {"val_check_interval": 6, "check_val_every_n_epoch": None},
    "accumulated": {"val_check_interval": 4, "accumulate_grad_batches": 2},
    "every second epoch": {"check_val_every_n_epoch": 2},
    "every epoch": {},
}


def go(folder: Path, epochs: int, path: Path | None = None, **settings: Any) -> tuple[MultimodalMonitor, list[Path]]:
    """Train with a checkpoint at each step and behind each validation."""
    watch = monitor()
    steps = ModelCheckpoint(folder, save_top_k=-1, filename="before {step}", every_n_train_steps=1)
    behind = ModelCheckpoint(folder, save_top_k=-1, filename="behind {step}", save_on_train_epoch_end=False)
    callbacks = [watch, *([] if path else [steps, behind])]
    chosen = trainer(folder, *callbacks, enable_checkpointing=path is None, max_epochs=epochs, **settings)
    torch.manual_seed(0)
    chosen.fit(Toy(), loader(128), loader(seed=1), ckpt_path=path)
    return watch, sorted(folder.glob("*.ckpt"), key=lambda one: (step_of(one), one.name))


def step_of(path: Path) -> int:
    return int(re.findall("step=([0-9]+)", path.name)[0])


def moments(watch: MultimodalMonitor) -> list[tuple[int, int]]:
    return [(row.epoch, row.step) for row in watch.history]


def check(folder: Path, path: Path, whole: list[tuple[int, int]], epochs: int, **settings: Any) -> bool:
    """Check the runs of a training that resumes; return whether Lightning left one out."""
    watch, _ = go(folder, epochs, path, **settings)
    lost = [moment for moment in whole if moment not in moments(watch)]
    assert len(moments(watch)) == len(whole) - len(lost)
    assert moments(watch) == [moment for moment in whole if moment in moments(watch)]
    noted = re.findall(
        "no run at step ([0-9]+): the checkpoint was written before", str([r.note for r in watch.history])
    )
    after = [moment for moment in whole if lost and moment > lost[0]]
    assert [int(step) for step in noted] == ([step for _, step in lost] if after else [])
    assert len(lost) == (path.name.startswith("before") and step_of(path) - 1 in [step for _, step in whole])
    return bool(lost)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_checkpoint_leads_to_the_runs_of_a_whole_training(tmp_path: Path, name: str) -> None:
    whole, paths = go(tmp_path, 3, **SETTINGS[name])
    assert len(whole.history) > 0
    skipped = [path for path in paths if check(tmp_path, path, moments(whole), 3, **SETTINGS[name])]
    assert len(skipped) == len(whole.history)


@pytest.mark.parametrize(
    ("ready", "settings", "skipped"),
    [
        (4, {}, True),
        (8, {"current_epoch": 1}, True),
        (3, {}, False),
        (4, {"completed": 4}, False),
        (4, {"restarting": False}, False),
        (4, {"enable_validation": False}, False),
        (4, {"val_check_batch": float("inf")}, False),
        (4, {"check_val_every_n_epoch": 2}, False),
        (4, {"check_val_every_n_epoch": 2, "current_epoch": 1}, True),
        (8, {"check_val_every_n_epoch": 2, "current_epoch": 1}, False),
        (8, {"check_val_every_n_epoch": 2, "current_epoch": 2}, True),
        (4, {"check_val_every_n_epoch": None, "val_check_batch": 6, "current_epoch": 1}, True),
        (6, {"check_val_every_n_epoch": None, "val_check_batch": 6, "current_epoch": 1}, False),
    ],
)
def test_a_validation_that_lightning_leaves_out_is_known(
    ready: int, settings: dict[str, Any], *, skipped: bool
) -> None:
    plain = {"completed": ready - 1, "restarting": True, "enable_validation": True, "val_check_batch": 4}
    given = plain | {"check_val_every_n_epoch": 1, "current_epoch": 0} | settings
    current = SimpleNamespace(ready=ready, completed=given.pop("completed"))
    total = 8 * (given["current_epoch"]) + ready - 1 - 8 * (ready == 8 and given["current_epoch"] > 0)
    loop = SimpleNamespace(
        restarting=given.pop("restarting"), batch_progress=SimpleNamespace(current=current), total_batch_idx=total
    )
    chosen = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=loop), num_training_batches=8, **given)
    assert trainer_facts.skips_validation(chosen) == skipped
