"""Two processes act alike at an alarm. This file is their program too."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.collapsing import alarm, blank, data, watching
from helpers.planned import IN_ALARM, Planned
from helpers.toy import trainer
from torch.utils.data import DataLoader

from mviz_lightning.actions import (
    EncoderLearningRate,
    GradientModulation,
    ModalityDropout,
    SaveCheckpoint,
    StopTraining,
)
from mviz_lightning.callbacks import reporter

pytestmark = pytest.mark.slow

LASTING = {
    "dropout": [ModalityDropout(0.5)],
    "rate": [EncoderLearningRate(5, 0.1)],
    "modulation": [GradientModulation(0.1)],
}


def halved(loader: Any) -> Any:
    return DataLoader(loader.dataset, batch_size=8)


def trained(folder: Path, action: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    module, watch = Planned(), watching()
    settings = {"max_epochs": 5, "strategy": "ddp", "devices": 2}
    chosen = trainer(folder, watch, alarm(action=action), **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen.fit(module, halved(data(64)), halved(data(seed=1)))
    return {
        "states": [row.values.get("collapse/text") for row in watch.history],
        "weights": [parameter.tolist() for parameter in module.parameters()],
        "hidden": module.hidden(IN_ALARM).tolist() if chosen.current_epoch > IN_ALARM else [],
        "epochs": chosen.current_epoch,
        "off": [str(one.message) for one in caught if "is off from now on" in str(one.message)],
        "groups": len(chosen.optimizers[0].param_groups),
    }


def main(folder: Path) -> None:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    reporter.share_curves = blank
    found = {"warn": trained(folder, "warn")} | {name: trained(folder, action) for name, action in LASTING.items()}
    found["stop"] = trained(folder, [SaveCheckpoint(str(folder / "at")), StopTraining()])
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-W", "ignore", __file__, str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return folder, [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", LASTING)
def test_both_processes_act_and_keep_the_same_weights(ranks, name):
    first, second = (found[name] for found in ranks[1])
    assert first["weights"] == second["weights"]
    assert first["weights"] != ranks[1][0]["warn"]["weights"]
    assert (first["states"], first["off"], first["groups"]) == ([0, 0, 2, 0, 0], [], 1)


def test_each_process_hides_examples_of_its_own(ranks):
    first, second = (found["dropout"]["hidden"] for found in ranks[1])
    assert any(first)
    assert any(second)
    assert first != second


def test_both_stop_and_one_checkpoint_is_saved(ranks):
    folder, found = ranks
    assert [one["stop"]["epochs"] for one in found] == [3, 3]
    assert len(list((folder / "at").iterdir())) == 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
