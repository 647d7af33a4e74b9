"""Trains on two processes, of which the second has no text at all; run by test_absence.py with a folder."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, IterableDataset

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.incomplete import Patient, batches_of, everything, missing, watching
from helpers.toy import trainer

COST = ("seconds", "rows", "overhead")


class Own(IterableDataset[Any]):
    """Gives batches of its own to each process: complete ones to the first, ones without text to the second."""

    def __iter__(self) -> Any:
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        parts = batches_of(everything(32, seed=1 + rank))
        return iter([missing(part) if rank else part for part in parts])


class Write(Callback):
    """Writes what this process saw."""

    def __init__(self, folder: Path, watch: Any) -> None:
        self.folder, self.watch = folder, watch

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        history = self.watch.history
        found = {
            "rows": [{key: value for key, value in row.values.items() if key not in COST} for row in history],
            "notes": [row.note for row in history],
            "probe": self.watch._run.session.probe.leaves["image"].tolist(),
            "weights": sum(float(one.detach().double().abs().sum()) for one in module.parameters()),
        }
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def main(folder: Path) -> None:
    torch.manual_seed(0)
    watch, parts = watching(absence=True), batches_of(everything(64, seed=0))
    chosen = trainer(folder, Write(folder, watch), watch, strategy="ddp_find_unused_parameters_true", devices=2)
    chosen.fit(Patient(), DataLoader(parts, batch_size=None), DataLoader(Own(), batch_size=None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
