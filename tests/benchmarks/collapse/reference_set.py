"""The monitor's reference examples: which of the validation examples they are, and the model's score on all of them."""

from dataclasses import dataclass, field
from typing import Any

import torch
from data import Data
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mviz_lightning import MultimodalMonitor
from mviz_lightning.batch.probe import Probe
from mviz_lightning.functional.targets import decided
from mviz_lightning.metrics import default_score


@dataclass
class ReferenceScores(Callback):
    """Scores the model on all reference examples at every validation, as the monitor does on those it recombines."""

    monitor: MultimodalMonitor
    data: Data
    scores: list[float] = field(default_factory=list)

    @property
    def probe(self) -> Probe:
        """The monitor's examples; those in no group belong to the reference set alone."""
        return self.monitor._run.session._ready()[0].probe

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score."""
        if trainer.sanity_checking:
            return
        leaves, task = self.probe.leaves, self.data.task
        outputs = pl_module({name: leaves[name] for name in self.data.modalities})
        metric = default_score(task, self.data.outputs)
        metric.update(outputs if task == "multilabel" else outputs.squeeze(-1), decided(leaves["label"], task))
        self.scores.append(float(metric.compute()))

    def indices(self) -> list[int]:
        """Return where the reference examples stand among the validation examples."""
        place = {row: number for number, row in enumerate(_rows(self.data.validation))}
        return [place[row] for row in _rows(self.probe.leaves)]


def _rows(columns: Any) -> list[bytes]:
    """Return the bytes of every example."""
    parts: list[Tensor] = [
        columns[name].flatten(1) if columns[name].dim() > 1 else columns[name] for name in sorted(columns)
    ]
    return [b"".join(part[k].numpy().tobytes() for part in parts) for k in range(len(parts[0]))]
