"""Random faults anywhere in the package: a training ends as it would have without the monitor."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.collapsing import Known, alarm, data, watching
from helpers.faults import Calls, calls_of, random_fault
from helpers.planned import kept, same
from helpers.toy import Toy, loader, monitor, trainer
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from mviz_lightning import MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.actions import Action
from mviz_lightning.explainers import DIME, ErrorAnalysis


class Neutral(Action):
    """Does all that an action can do, and changes nothing."""

    uses_encoders = True

    @contextmanager
    def during(self, alarms: Any) -> Iterator[None]:
        yield

    @contextmanager
    def during_step(self, optimizer: Any, alarms: Any, number: int) -> Iterator[None]:
        yield

    def change_batch(self, batch: Any, alarms: Any, number: int) -> Any:
        return [leaf.clone() for leaf in batch]


@dataclass(frozen=True)
class Scene:
    """A training with callbacks of ours.

    Attributes:
        callbacks: Makes the callbacks.
        module: Makes the model.
        loaders: Makes the data of training and validation.
        epochs: Number of epochs.
        more: Whether checkpoints are saved, and a test follows.
    """

    callbacks: Callable[[], list[Callback]]
    module: Callable[[], LightningModule]
    loaders: Callable[[], tuple[Any, Any]]
    epochs: int = 2
    more: bool = False


SCENES = {
    "watched": Scene(
        lambda: [monitor(), UnimodalCollapse("stop")], Toy, lambda: (loader(32, shuffle=True), loader(seed=1)), epochs=1
    ),
    "explained": Scene(
        lambda: [
            monitor(explainers=[DIME(num_examples=1), ErrorAnalysis(every_n_validations=1)]),
            UnimodalCollapse(),
            ModelCheckpoint(),
            EarlyStopping("mviz/weakest_total", mode="max", patience=9),
        ],
        Toy,
        lambda: (loader(shuffle=True), loader(seed=1)),
        more=True,
    ),
    "acted on": Scene(
        lambda: [
            watching(num_examples=32, group_size=8, reference=64),
            alarm(patience=1, expected=["text"], action=[Neutral(), lambda *_: None]),
        ],
        lambda: Known("text"),
        lambda: (data(64), data(64, seed=1)),
    ),
}
"""A monitor and an alarm; one that explains and whose values others monitor; an alarm that stands, with actions."""


def train(folder: Path, scene: Scene, *callbacks: Callback) -> tuple[dict[str, Any], list[str]]:
    """Train; return all that is left, and what was warned of."""
    for seeded in (torch.manual_seed, random.seed, np.random.seed):
        seeded(1)
    module, (training, validation) = scene.module(), scene.loaders()
    chosen = trainer(folder, *callbacks, max_epochs=scene.epochs, enable_checkpointing=scene.more)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen.fit(module, training, validation)
        if scene.more:
            chosen.test(module, validation, verbose=False)
    said = [str(one.message) for one in caught if one.category is MonitorWarning]
    state = {"epoch": chosen.current_epoch, "step": chosen.global_step, "training": module.training}
    drawn = [random.random(), np.random.random(), torch.rand(3)]
    return kept(module, chosen) | state | {"attributes": sorted(vars(module)), "drawn": drawn}, said
