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
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.engine import packed_evaluation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COST = ("seconds", "rows", "overhead")


class Sharded(Answering):
    """The same with its weights divided among the processes (FSDP2)."""

    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        for part in (*self.model.model.vision_tower.modules(), *self.model.model.language_model.layers, self.model):
            if part is self.model or type(part).__name__.endswith("Layer"):
                fully_shard(part, mesh=mesh)


STRATEGIES = {"one": {}, "ddp": {"strategy": "ddp", "devices": 2}, "fsdp2": {"devices": 2}}
"""Name -> how the processes share a model."""


def rows_of_batch(of: str) -> list[dict[str, Any]]:
    """Return the examples of a batch one by one."""
    batch = batch_of(of=of)
    return [{name: leaf[row] for name, leaf in batch.items()} for row in range(len(batch["input_ids"]))]


def validated(folder: Path, of: str, sharing: str) -> dict[str, Any]:
    """Return what the monitor saw on this process, and what it said."""
    torch.manual_seed(0)
    module = Sharded() if sharing == "fsdp2" else Answering()
    watch = MultimodalMonitor({"image": "pixel_values", "text": "input_ids"}, num_examples=48)
    module.load_state_dict(torch.load(folder / f"{of}.pt"))
    settings = dict(STRATEGIES[sharing])
    if sharing == "fsdp2":
        settings["strategy"] = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    chosen = trainer(folder, watch, UnimodalCollapse(expected=["image"]), **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen.validate(
            module, DataLoader(rows_of_batch(of), batch_size=16 // settings.get("devices", 1)), verbose=False
        )
    alarms = [str(one.message).partition("\n")[0] for one in caught if "collapsed" in str(one.message)]
    return {"values": watch.history[-1].values, "alarms": alarms, "note": watch.history[-1].note}


def main(folder: Path, sharing: str) -> None:
    packed_evaluation.WORTHWHILE = 0  # the tokens of tiny pictures are few
    for of in ("questions", "captions"):
        found = validated(folder, of, sharing)
        (folder / f"{of}-{sharing}-{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what one process and two saw of blind models."""
    made = tmp_path_factory.mktemp("processes")
    for of in ("questions", "captions"):
        torch.save(trained(200, blind=True, of=of).state_dict(), made / f"{of}.pt")
    for sharing in STRATEGIES:
        command = [sys.executable, "-W", "ignore", __file__, str(made), sharing]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert finished.returncode == 0, finished.stderr[-2000:]
    return made


def seen(folder: Path, of: str, sharing: str, rank: int) -> dict[str, Any]:
    found = json.loads((folder / f"{of}-{sharing}-{rank}.json").read_text())
    return found | {"values": {key: value for key, value in found["values"].items() if key not in COST}}


@pytest.mark.parametrize("of", ["questions", "captions"])
@pytest.mark.parametrize("sharing", ["ddp", "fsdp2"])
def test_two_processes_measure_what_one_does(folder: Path, of: str, sharing: str) -> None:
    alone, first, second = seen(folder, of, "one", 0), seen(folder, of, sharing, 0), seen(folder, of, sharing, 1)
    assert alone["values"]["collapse/image"] == 2
    assert ("nats/image" in alone["values"]) == (of == "captions")
    if sharing == "fsdp2":
        assert alone["values"].pop("agreement") == 1  # a step that shards its weights is not compared
    for found in (first, second):
        assert found["values"] == pytest.approx(alone["values"], rel=1e-4, abs=1e-5, nan_ok=True)
    assert first["values"] == pytest.approx(second["values"], rel=0, abs=0, nan_ok=True)
    assert alone["alarms"]
    assert first["alarms"] == alone["alarms"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
