"""One training with the monitor and one without it: what was measured, what was said, and the weights of both."""

import copy
import random
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy import trainer
from lightning.pytorch import LightningModule, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor

OF_LIGHTNING = ("The '", "`isinstance(", "`Trainer", "Trying to infer", "The number of training", "You ", "GPU ")
"""How warnings begin that are none of ours."""


@dataclass(frozen=True)
class Watched:
    """A training with the monitor.

    Attributes:
        monitor: The monitor.
        module: The model at the end; it was measured after the last step of the training.
        values: What the last validation gave, without the keys of cost; empty where nothing was measured.
        warned: What was warned of.
        same: Whether weights and logged values are, to the bit, those of the training without the monitor.
        steps: Steps of the training.
        session: Where the monitor's examples are; None for those of its fit.
    """

    monitor: MultimodalMonitor
    module: LightningModule
    values: Mapping[str, float]
    warned: Sequence[str]
    same: bool
    steps: int
    session: Any = None

    @property
    def groups(self) -> Tensor:
        """``(G, g)``: the places in the validation data of the examples that were recombined."""
        session = self.session or self.monitor._fit_session
        return torch.tensor(session.positions)[session.probe.groups]


def names(kinds: Mapping[str, Any], fast: Container[str], which: Callable[[Any], Any] = bool) -> list[Any]:
    """Return the names of the kinds for which something holds, for a test; all but a few are slow, being many."""
    chosen = [name for name, kind in kinds.items() if which(kind)]
    return [pytest.param(name, marks=[] if name in fast else [pytest.mark.slow]) for name in chosen]


COST = ("seconds", "rows", "overhead", "agreement")


def watched(
    module: LightningModule,
    loaders: tuple[DataLoader[Any], DataLoader[Any]],
    modalities: Any,
    folder: Path,
    *more: Any,
    epochs: int = 1,
    **options: Any,
) -> Watched:
    """Train a copy of a module without the monitor, and the module with it."""
    plain, plain_trainer = copy.deepcopy(module), trainer(folder / "plain", max_epochs=epochs)
    seed_everything(1, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain_trainer.fit(plain, *loaders)
    drawn = _next_draws()
    monitor = MultimodalMonitor(modalities, **options)
    chosen = trainer(folder / "watched", monitor, *more, max_epochs=epochs)
    seed_everything(1, verbose=False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        chosen.fit(module, *loaders)
    values = monitor.history[-1].values if len(monitor.history) else {}
    same = _same(plain.state_dict(), module.state_dict()) and drawn == _next_draws()
    same &= all(
        torch.equal(value, chosen.callback_metrics[key]) for key, value in plain_trainer.callback_metrics.items()
    )
    return Watched(
        monitor,
        module,
        {key: value for key, value in values.items() if key not in COST and not key.endswith(COST)},
        [str(one.message) for one in found if not str(one.message).startswith(OF_LIGHTNING)],
        same,
        chosen.global_step,
    )


def _next_draws() -> tuple[float, float, float]:
    """Return what the generators of torch, NumPy and Python draw next."""
    return float(torch.rand(())), float(np.random.rand()), random.random()


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def attempted(*arguments: Any, **options: Any) -> tuple[Watched | None, str]:
    """Return the training, or what ended it."""
    try:
        return watched(*arguments, **options), ""
    except Exception as error:  # whatever ended the training is what a test of refusals reads
        return None, f"{type(error).__name__}: {error}"
