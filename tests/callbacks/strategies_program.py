"""Trains under a strategy of several processes; run by test_strategies.py: folder, strategy, devices, scenarios."""

import json
import os
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms import Join
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.mapped import Halves, maps
from helpers.toy import MODALITIES, Toy, examples, loader, monitor, trainer
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME
from mviz_lightning.sinks.files import FileSink

CALLED = __name__ in ("__main__", "__mp_main__")  # and not read for doctests
FOLDER, STRATEGY, DEVICES = (Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])) if CALLED else (Path(), "one", 1)

COST = ("seconds", "rows", "overhead")

CONTRASTS = ("contrast", "contrast_lightning", "contrast_gradient", "contrast_functional", "contrast_plain")

FEW = 8
"""Rows of a forward for which the second process has memory."""


def rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


class Still(Toy):
    """Keeps its weights, so that any number of processes measures the same model; counts its forwards in a file."""

    scenario = ""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(nn.Sequential(nn.Linear(size, 8), nn.ReLU(), nn.Linear(8, 6)) for size in (4, 3))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def configure_model(self) -> None:
        if hasattr(self.encoders[0][0].weight, "placements"):
            return
        if STRATEGY.startswith("tp"):
            for encoder in self.encoders:
                parallelize_module(
                    encoder, self.device_mesh["tensor_parallel"], {"0": ColwiseParallel(), "2": RowwiseParallel()}
                )
        if STRATEGY == "fsdp2":
            for part in (*self.encoders, self):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def forward(self, *modalities: Tensor) -> Tensor:
        with (FOLDER / f"{self.scenario}{rank()}.forwards").open("a") as file:
            file.write(f"{len(modalities[0])} ")
        self.happen("begin", modalities[0])
        first = self.encoders[0](modalities[0])
        self.happen("middle", modalities[0])
        encoded = torch.stack([first, self.encoders[1](modalities[1])])
        self.happen("end", modalities[0])
        return self.head(encoded.sum(0) + encoded.prod(0))

    def happen(self, place: str, rows: Tensor) -> None:
        """Fail on the second process alone, and only where the monitor calls."""
        if rank() != 1 or self.training or len(rows) <= FEW:
            return
        if self.scenario == f"memory_{place}":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.scenario == f"error_{place}":
            raise ValueError("rank 1 is unwell")
        if place == "middle":
            self.die()

    def die(self) -> None:
        if self.scenario == "exits":
            os._exit(1)
        if self.scenario == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.scenario == "silent":
            time.sleep(45)  # longer than the timeout of the group


class Contrast(Still):
    """InfoNCE among the examples of all processes."""

    def loss(self, batch: Any) -> Tensor:
        first, second = (nn.functional.normalize(one(x)) for one, x in zip(self.encoders, batch[:2], strict=True))
        wanted, all_first, all_second = torch.arange(len(first)), self.gathered(first), self.gathered(second)
        wanted += rank() * len(first) * (len(all_first) > len(first))
        scores = 5 * first @ all_second.T, 5 * second @ all_first.T
        return sum(nn.functional.cross_entropy(one, wanted) for one in scores) + 0 * self.head(first).sum()

    def gathered(self, own: Tensor) -> Tensor:
        if DEVICES == 1:
            return own
        if self.scenario == "contrast_lightning":
            return self.all_gather(own).flatten(0, 1)
        if self.scenario == "contrast_gradient":
            return self.all_gather(own, sync_grads=True).flatten(0, 1)
        if self.scenario == "contrast_functional":
            return torch.cat(dist.nn.functional.all_gather(own))
        found = [torch.zeros_like(own) for _ in range(DEVICES)]
        dist.all_gather(found, own)
        return torch.cat([*found[: rank()], own, *found[rank() + 1 :]])


class Joined(Still):
    """Runs one encoder in a join context, for uneven inputs."""

    def setup(self, stage: str) -> None:
        self.wrapped = [DistributedDataParallel(self.encoders[0])]

    def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        with Join(self.wrapped):
            self.wrapped[0](batch[0])
        super().validation_step(batch, index, dataloader_idx)


class Mapped(LightningModule):
    """Scores each pixel from two sensors."""

    def __init__(self) -> None:
        super().__init__()
        self.halves = Halves(mixed=0.5)

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.cross_entropy(self.halves(batch["optical"], batch["radar"]), batch["mask"])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.training_step(batch, index), batch_size=1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def pixels() -> list[dict[str, Tensor]]:
    found = maps(64)
    return [{name: leaf[place] for name, leaf in found.items()} for place in range(64)]


class Lame(DIME):
    """Fails on the second process."""

    def plan(self, *given: Any) -> Any:
        if rank() == 1:
            raise ValueError("rank 1 cannot plan")
        return super().plan(*given)


class Secretive(DIME):
    """Finds what the second process cannot send."""

    def explain(self, *given: Any) -> Any:
        return (lambda: 0) if rank() == 1 else super().explain(*given)


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


class Uneven(IterableDataset[Any]):
    """Gives half of the examples to the first process, half to the second one, and none to the third."""

    def __iter__(self) -> Any:
        found = list(examples(64, seed=1))
        return iter([found[::2], found[1::2], []][rank()])


def strategy() -> dict[str, Any]:
    timeout = timedelta(seconds=20 if "silent" in sys.argv else 60)
    if STRATEGY == "one":
        return {}
    if STRATEGY == "ddp":
        return {"strategy": DDPStrategy(timeout=timeout), "devices": DEVICES}
    if STRATEGY in ("ddp_spawn", "ddp_fork"):
        return {"strategy": STRATEGY, "devices": DEVICES}
    tensors = 2 if STRATEGY.startswith("tp") else 1
    found = ModelParallelStrategy(data_parallel_size=DEVICES // tensors, tensor_parallel_size=tensors, timeout=timeout)
    return {"strategy": found, "devices": DEVICES}


def watching(scenario: str) -> MultimodalMonitor:
    settings: dict[str, Any] = {"explainers": [DIME(num_examples=2)], "num_examples": 64, "reference": 64}
    settings["on_side_effect"] = "ignore"  # forwards are counted in a file
    if scenario == "explainer":
        settings["explainers"] = [Lame(num_examples=2)]
    if scenario == "unsendable":
        settings["explainers"] = [Secretive(num_examples=2)]
    if scenario.startswith("contrast") or scenario == "positions":
        settings["target"] = None
    named = {"optical": "optical", "radar": "radar"} if scenario == "positions" else MODALITIES
    return monitor(modalities=named, **settings)


KINDS = {"join": Joined, "positions": Mapped} | dict.fromkeys(CONTRASTS, Contrast)
"""Scenario -> its model, if it is not the usual one."""


def main(scenario: str) -> None:
    torch.manual_seed(0)
    module: Any = KINDS.get(scenario, Still)()
    watch, tell = watching(scenario), UnimodalCollapse(patience=1, min_skill=-9)
    module.scenario = scenario
    if scenario == "disk" and rank() == 0:
        FileSink.row = full  # type: ignore[method-assign]
    chosen = trainer(FOLDER / "run", watch, tell, **strategy())
    given: Any = pixels() if scenario == "positions" else examples(64, seed=1)
    training = DataLoader(given, batch_size=16) if scenario == "positions" else loader()
    validation = DataLoader(given, batch_size=16 // (DEVICES // (1 + STRATEGY.startswith("tp")) or 1))
    if scenario == "streams":
        validation = DataLoader(Uneven(), batch_size=8)
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            chosen.fit(module, training, validation)
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"
    found = {
        "error": error,
        "rows": [{key: value for key, value in row.values.items() if key not in COST} for row in watch.history],
        "notes": [row.note for row in watch.history],
        "states": {name: int(one.state) for name, one in tell.verdicts.items()},
        "explained": [[one.step, len(one.explanations)] for one in watch.explanation_history.entries],
        "said": [str(one.message) for one in caught if "MultimodalMonitor: " in str(one.message)],
        "saved": len(watch.state_dict()["history"]["rows"]),
    }
    (FOLDER / f"{scenario}{rank()}.json").write_text(json.dumps(found))
    if error is not None:
        os._exit(3)


if __name__ == "__main__":
    for name in sys.argv[4:]:
        main(name)
