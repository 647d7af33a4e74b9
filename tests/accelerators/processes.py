"""One process of a training on several: trains without and with a monitor, and compares; started by ``checks``."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerators.checks import bits, silent
from accelerators.models import Pictured
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

from mviz_lightning.explainers import DIME


class Sharded(Pictured):
    """The same with its weights divided among the processes (FSDP2)."""

    def configure_model(self) -> None:
        mesh = self.device_mesh["data_parallel"]
        for part in (self.image, self.head):
            fully_shard(part, mesh=mesh)


def strategy(kind: str, backend: str) -> Any:
    """Return how the processes share a training."""
    if kind == "ddp":
        return DDPStrategy(process_group_backend=backend)
    return ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1, process_group_backend=backend)


def main(kind: str, backend: str, device: torch.device, folder: Path) -> None:
    """Compare two trainings bit by bit, and print what was measured."""
    settings = {
        "make": Pictured if kind == "ddp" else Sharded,
        "strategy": partial(strategy, kind, backend),
        "plugins": [LightningEnvironment()],
        "devices": 1,
        "num_nodes": 2 if kind == "ddp" else 1,
    }
    sys.stdout.write(silent(bits(device, folder, DIME(num_examples=1), **settings)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], torch.device(sys.argv[3]), Path(sys.argv[4]))
