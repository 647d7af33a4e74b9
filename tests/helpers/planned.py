"""A model whose alarms follow a plan while it really trains encoders of its own."""

import copy
from pathlib import Path
from typing import Any

import torch
from helpers.collapsing import NAMES, WEIGHTS, Known, alarm, data, watching
from helpers.toy import trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

STANDS = "- text text - -"
"""Text is collapsed from the third validation on, and used from the fourth on: the alarm stands in the fourth epoch."""

IN_ALARM = 3
"""Number of that epoch, from 0."""


class Planned(Known):
    """Answers by the plan in validation; trains an encoder for each modality and a head.

    Args:
        plan: See Known.
        count: Number of modalities.
        optimizer: ``sgd``, ``adam``, or ``two``: an optimizer for each half, by hand.

    Attributes:
        met: What every training step got, by epoch.
    """

    def __init__(self, plan: str = STANDS, count: int = 2, optimizer: str = "adam") -> None:
        super().__init__(plan, weights=(*WEIGHTS, 0.8)[:count])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoders = nn.ModuleDict({name: nn.Linear(2, 4) for name in NAMES[:count]})
            self.head = nn.Linear(4, 2)
        self.optimizer, self.automatic_optimization = optimizer, optimizer != "two"
        self.met: list[tuple[int, list[Tensor]]] = []

    def trained(self, *modalities: Tensor) -> Tensor:
        """Return ``(B, 2)`` scores of what is trained."""
        encoded = [encoder(x).tanh() for encoder, x in zip(self.encoders.values(), modalities, strict=True)]
        return self.head(torch.stack(encoded).sum(0))

    def forward(self, *modalities: Tensor) -> Tensor:
        return super().forward(*modalities) + 0 * self.trained(*modalities)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.met.append((self.current_epoch, [leaf.clone() for leaf in batch]))
        *modalities, label = batch
        loss = nn.functional.cross_entropy(self.trained(*modalities), label) + 0 * self.learned.sum()
        if self.automatic_optimization:
            return loss
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return None

    def configure_optimizers(self) -> Any:
        if self.optimizer == "two":
            parts = [*self.encoders.parameters()], [*self.head.parameters(), self.learned]
            return [torch.optim.Adam(part, lr=0.01) for part in parts]
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[self.optimizer]
        made = kind(self.parameters(), lr=0.01)
        return {"optimizer": made, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(made, 0.9)}

    def hidden(self, epoch: int, place: int = 0) -> Tensor:
        """Return which examples of an epoch had zeros in place of a modality."""
        found = [(leaves[place] == 0).all(1) for number, leaves in self.met if number == epoch]
        return torch.cat(found)


def planned(
    folder: Path,
    action: Any,
    module: Planned | None = None,
    *callbacks: Callback,
    path: Any = None,
    expected: Any = None,
    **settings: Any,
) -> tuple[Planned, Trainer]:
    """Train for as many epochs as the plan has validations."""
    torch.manual_seed(0)
    module = module or Planned()
    known = {"weights": module.weights}
    watch = watching(len(module.weights), group_size=4 * len(module.weights))
    chosen = trainer(
        folder,
        watch,
        alarm(action=action, expected=expected),
        *callbacks,
        **({"max_epochs": len(module.plan)} | settings),
    )
    chosen.fit(module, data(64, **known), data(seed=1, **known), ckpt_path=path)
    module.history = watch.history  # type: ignore[assignment]
    return module, chosen


def kept(module: Planned, chosen: Trainer) -> dict[str, Any]:
    """Return all that a training leaves."""
    return {
        "weights": copy.deepcopy(module.state_dict()),
        "optimizers": [copy.deepcopy(one.state_dict()) for one in chosen.optimizers],
        "random": torch.get_rng_state(),
        "logged": {key: value for key, value in chosen.callback_metrics.items() if not key.startswith("mviz/")},
    }
