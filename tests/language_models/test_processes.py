"""Two processes measure a language model as one does. This file is their program too."""

import pytest

pytest.importorskip("transformers")

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.toy import trainer
from language_models.trained import Answering, batch_of, trained
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.engine import packed_evaluation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COST = ("seconds", "rows", "overhead")


def rows_of_batch(of: str) -> list[dict[str, Any]]:
    """Return the examples of a batch one by one."""
    batch = batch_of(of=of)
    return [{name: leaf[row] for name, leaf in batch.items()} for row in range(len(batch["input_ids"]))]


def validated(folder: Path, of: str, devices: int) -> dict[str, Any]:
    """Return what the monitor saw on this process, and what it said."""
    torch.manual_seed(0)
    module, watch = Answering(), MultimodalMonitor({"image": "pixel_values", "text": "input_ids"}, num_examples=48)
    module.load_state_dict(torch.load(folder / f"{of}.pt"))
    settings = {"strategy": "ddp", "devices": devices} if devices > 1 else {}
    chosen = trainer(folder, watch, UnimodalCollapse(expected=["image"]), **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen.validate(module, DataLoader(rows_of_batch(of), batch_size=16 // devices), verbose=False)
    alarms = [str(one.message).partition("\n")[0] for one in caught if "collapsed" in str(one.message)]
    return {"values": watch.history[-1].values, "alarms": alarms, "note": watch.history[-1].note}


def main(folder: Path, devices: int) -> None:
    packed_evaluation.WORTHWHILE = 0  # the tokens of tiny pictures are few
    for of in ("questions", "captions"):
        found = validated(folder, of, devices)
        (folder / f"{of}-{devices}-{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what one process and two saw of blind models."""
    made = tmp_path_factory.mktemp("processes")
    for of in ("questions", "captions"):
        torch.save(trained(200, blind=True, of=of).state_dict(), made / f"{of}.pt")
    for devices in (1, 2):
        command = [sys.executable, "-W", "ignore", __file__, str(made), str(devices)]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert finished.returncode == 0, finished.stderr[-2000:]
    return made


def seen(folder: Path, of: str, devices: int, rank: int) -> dict[str, Any]:
    found = json.loads((folder / f"{of}-{devices}-{rank}.json").read_text())
    return found | {"values": {key: value for key, value in found["values"].items() if key not in COST}}


@pytest.mark.parametrize("of", ["questions", "captions"])
def test_two_processes_measure_what_one_does(folder: Path, of: str) -> None:
    alone, first, second = seen(folder, of, 1, 0), seen(folder, of, 2, 0), seen(folder, of, 2, 1)
    assert alone["values"]["collapse/image"] == 2
    assert ("nats/image" in alone["values"]) == (of == "captions")
    for found in (first, second):
        assert found["values"] == pytest.approx(alone["values"], rel=1e-4, abs=1e-5, nan_ok=True)
    assert first["values"] == pytest.approx(second["values"], rel=0, abs=0, nan_ok=True)
    assert alone["alarms"]
    assert first["alarms"] == alone["alarms"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
