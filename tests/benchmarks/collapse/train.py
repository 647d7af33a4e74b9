"""Make the benchmark's trainings and keep what the monitor saw and what was true, a line of JSON each.

python tests/benchmarks/collapse/train.py --part families --part extras --part healthy --jobs 2 --out runs.jsonl
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "examples")]

import later_recipes  # noqa: F401  its parts
import torch
from data import Data, load
from lightning.pytorch import Callback, Trainer
from model import LateFusion
from recipes import PARTS, RunSpec
from reference_set import reference_indices
from runs import read
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from truth import Truth, alone

from mviz_lightning import Modality, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.sinks.files import append_lines


class Columns(Dataset[dict[str, Tensor]]):
    """Rows of a table of tensors, fetched by the batch."""

    def __init__(self, columns: dict[str, Tensor]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return a batch at once."""
        chosen = torch.tensor(indices)
        return {name: column[chosen] for name, column in self.columns.items()}


def loader(columns: Any, *, shuffle: bool) -> DataLoader[Any]:
    """Return batches of 64; of fewer where an epoch would have too few."""
    size = min(64, max(8, len(columns["label"]) // 12))
    return DataLoader(Columns(dict(columns)), size, shuffle=shuffle, collate_fn=lambda batch: batch)


def monitor_of(data: Data) -> MultimodalMonitor:
    """Return the monitor as a user would write it."""
    kinds = {name: "text" for name in data.modalities if not data.train[name].is_floating_point()}
    modalities = {name: Modality(name, kind=kinds.get(name)) for name in data.modalities}
    return MultimodalMonitor(modalities, target="label", task=data.task, on_error="raise")


def train(spec: RunSpec, callbacks: Callable[[], Sequence[Callback]] = tuple) -> dict[str, Any]:
    """Train once.

    Args:
        spec: What and how.
        callbacks: Makes further callbacks.

    Returns:
        Plain data: the run, what the monitor saw, the truth.
    """
    started = time.perf_counter()
    torch.manual_seed(spec.seed)
    data = load(spec)
    model, monitor, truth = LateFusion(spec, data), monitor_of(data), Truth(data, spec.seed)
    folder = tempfile.TemporaryDirectory()
    trainer = Trainer(
        default_root_dir=folder.name,
        max_epochs=spec.epochs,
        callbacks=[monitor, truth, *(callbacks() or [UnimodalCollapse()])],
        logger=False,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with folder:
        trainer.fit(model, loader(data.train, shuffle=True), loader(data.validation, shuffle=True))
    epochs = [
        {**epoch, "values": row.values, "evidence": row.evidence}
        for epoch, row in zip(truth.epochs, monitor.history.fitted, strict=True)
    ]
    # A loader that mixes up training pairs takes nothing from what the modality could tell.
    intact = load(replace(spec, recipe="plain")) if spec.recipe == "shuffled" else data
    told = {"alone": alone(intact), "yardstick": _yardstick(monitor), "reference": reference_indices(monitor, data)}
    return asdict(spec) | told | {"epochs": epochs, "seconds": time.perf_counter() - started}


def _yardstick(monitor: MultimodalMonitor) -> dict[str, Any]:
    """Return what the alarm measures scores and modalities against, as it did or as it would if it had to."""
    session, found = monitor._run.session, monitor.history.score_reference
    if found is None or not found.proven:
        found = session.score_reference().with_proofs(session.fit_proofs())
    return found.state()


def key(found: Any) -> str:
    """Tell runs apart; a record has its epochs where the plan has their number."""
    plan = {name: found[name] for name in sorted(asdict(RunSpec("", "", ())))}
    count = plan["epochs"] if isinstance(plan["epochs"], int) else len(plan["epochs"])
    return json.dumps(plan | {"epochs": count})


def _quietly(spec: RunSpec) -> dict[str, Any]:
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(spec)


def main() -> None:
    """Make the runs that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=list(PARTS), required=True)
    parser.add_argument("--out", type=Path, default=Path("runs.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="every n-th run alone")
    arguments = parser.parse_args()
    done = {key(run) for run in read(arguments.out)} if arguments.out.exists() else set()
    specs = [spec for part in arguments.part for spec in PARTS[part]()][:: arguments.every]
    specs = [spec for spec in specs if key(asdict(spec)) not in done]
    started = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(_quietly, spec): spec for spec in specs}
        for number, future in enumerate(as_completed(futures)):
            spec = futures[future]
            try:
                record = future.result()
            except Exception as error:
                print(f"{spec}: {type(error).__name__}: {error}", flush=True)
                continue
            append_lines(arguments.out, [json.dumps(record)])
            label = f"{spec.family} {spec.task} {'+'.join(spec.views)} {spec.recipe} {spec.strength:g} {spec.fusion}"
            last = record["epochs"][-1]["truth"]
            seen = f"score {last['score']:.2f} reliance {last['reliance'][spec.weak]:.2f} {record['seconds']:.0f} s"
            print(f"{number + 1}/{len(specs)} {time.perf_counter() - started:.0f} s  {label}: {seen}", flush=True)


if __name__ == "__main__":
    main()
