"""Two processes on the CPU agree about a collapse, and nobody waits for the other. This file is their program too."""

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
from helpers.collapsing import WEIGHTS, Known, alarm, blank, data, watching
from helpers.toy import trainer
from torch.utils.data import DataLoader

from mviz_lightning.callbacks import reporter
from mviz_lightning.explainers.contribution_shares.explainer import Shares

pytestmark = pytest.mark.slow

PLAN = "- text text text - text text"


def broken(*_: Any) -> None:
    raise KeyError("no such luck")


class Case:
    """One training of both processes, and what this one saw of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.watch, self.calls, self.module = watching(), [], Known(PLAN)
        settings = {"max_epochs": 7, "strategy": "ddp", "devices": 2, "action": self.act} | settings
        self.tell = alarm(action=settings.pop("action"), patience=settings.pop("patience", 2))
        self.trainer = trainer(folder, self.tell, self.watch, **settings)

    def act(self, trainer: Any, module: Any, verdict: Any) -> None:
        right = trainer is self.trainer and module is self.module
        self.calls.append([verdict.modality, verdict.since.epoch, trainer.global_rank, right])

    def run(self) -> dict[str, Any]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.trainer.fit(self.module, halved(data(64)), halved(data(seed=1)))
        return {
            "states": [row.values.get("collapse/text") for row in self.watch.history],
            "said": [str(one.message).splitlines()[0] for one in caught if "UnimodalCollapse: " in str(one.message)],
            "failed": sum("no such luck" in str(one.message) for one in caught),
            "calls": self.calls,
            "epochs": self.trainer.current_epoch,
            "steps": self.module.steps,
            "logged": float(self.trainer.callback_metrics.get("mviz/collapse/text", -1)),
            "yardstick": self.watch.history.score_reference and self.watch.history.score_reference.state(),
        }


def halved(loader: Any) -> Any:
    return DataLoader(loader.dataset, batch_size=32)


def main(folder: Path) -> None:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    torch.manual_seed(0)
    reporter.share_curves = blank
    found = {"acts": Case(folder).run(), "stops": Case(folder, action="stop").run()}
    if rank == 1:
        Shares.fit_proofs = broken
    found["fails"] = Case(folder, action="stop", max_epochs=4).run()
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both processes saw of all trainings."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-W", "ignore", __file__, str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("case", ["acts", "stops", "fails"])
def test_both_processes_see_the_same(ranks, case):
    first, second = (rank[case] for rank in ranks)
    for what in ("states", "epochs", "steps", "logged", "yardstick"):
        assert first[what] == second[what]


def test_both_call_the_action_once_an_onset_and_the_first_says_it(ranks):
    for rank, found in enumerate(ranks):
        assert found["acts"]["states"] == [0, 0, 2, 2, 0, 0, 2]
        assert found["acts"]["calls"] == [["text", 1, rank, True], ["text", 5, rank, True]]
        assert len(found["acts"]["said"]) == (2 if rank == 0 else 0)


def test_both_stop_at_the_alarm(ranks):
    for found in ranks:
        assert (found["stops"]["epochs"], found["stops"]["states"]) == (3, [0, 0, 2])


def test_an_error_of_one_process_in_judging_is_heard_by_both_and_they_go_on(ranks):
    assert [found["fails"]["epochs"] for found in ranks] == [4, 4]
    assert [found["fails"]["failed"] > 0 for found in ranks] == [True, False]  # the first one speaks
    assert 2 not in ranks[0]["fails"]["states"]


def test_the_raw_inputs_are_told_of_all_examples(ranks):
    alone = ranks[0]["acts"]["yardstick"]["alone"]
    assert alone["text"]["examples"] == 256
    assert alone["image"]["explained"] > alone["text"]["explained"] > 0.05
    assert len(alone) == len(WEIGHTS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
