"""Random faults anywhere in the package: a training ends as it would have without the monitor."""

import copy
import json
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.collapsing import alarm, data, watching
from helpers.delicate import same
from helpers.faults import Calls, Fault, calls_of, random_fault
from helpers.few import few
from helpers.planned import Planned, kept
from helpers.toy import Toy, loader, monitor, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from mviz_lightning import CollapseWarning, MonitorWarning, MultimodalMonitor, UnimodalCollapse
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


NOT_MADE = "the call that was to fail is not made again: its result is kept for the whole process"


@dataclass(frozen=True)
class Scene:
    """A training with callbacks of ours.

    Attributes:
        callbacks: Makes the callbacks.
        module: Makes the model.
        loaders: Makes the data of training and validation.
        epochs: Number of epochs.
        resumes: Whether checkpoints are saved, and the training goes on from one for another epoch.
    """

    callbacks: Callable[[], list[Callback]]
    module: Callable[[], LightningModule]
    loaders: Callable[[], tuple[Any, Any]]
    epochs: int = 2
    resumes: bool = False


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
        epochs=1,
        resumes=True,
    ),
    "acted on": Scene(
        lambda: [
            watching(num_examples=32, group_size=8, reference=64),
            alarm(patience=1, expected=["text"], action=[Neutral(), lambda *_: None]),
        ],
        lambda: Planned("text"),
        lambda: (data(64), data(64, seed=1)),
    ),
}
"""A monitor and an alarm; one that explains and whose values others monitor; an alarm that stands, with actions."""


@dataclass(frozen=True)
class Reference:
    """What a scene is without faults.

    Attributes:
        left: What a training without a monitor leaves.
        weights: Step -> its weights.
        values: What the monitor measures.
        calls: The calls of the package that may fail.
    """

    left: Any
    weights: dict[int, Any]
    values: list[Any]
    calls: Calls


class Weights(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.found: dict[int, Any] = {}

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.found[trainer.global_step] = copy.deepcopy(module.state_dict())

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.on_train_start(trainer, module)


def fit(folder: Path, scene: Scene, module: LightningModule, *callbacks: Callback) -> Trainer:
    """Train, and resume where the scene wants that."""
    for seeded in (torch.manual_seed, random.seed, np.random.seed):
        seeded(1)
    loaders, settings = scene.loaders(), {"enable_checkpointing": scene.resumes}
    chosen = trainer(folder, *callbacks, max_epochs=scene.epochs, **settings)
    chosen.fit(module, *loaders)
    if not scene.resumes:
        return chosen
    chosen.save_checkpoint(folder / "saved.ckpt")
    resumed = trainer(folder, *callbacks, max_epochs=scene.epochs + 1, **settings)
    resumed.fit(module, *loaders, ckpt_path=folder / "saved.ckpt")
    resumed.test(module, loaders[1], verbose=False)
    return resumed


def left(folder: Path, scene: Scene, *callbacks: Callback) -> dict[str, Any]:
    """Return all that a training leaves."""
    torch.manual_seed(1)
    module = scene.module()
    chosen = fit(folder, scene, module, *callbacks)
    state = {"epoch": chosen.current_epoch, "step": chosen.global_step, "training": module.training}
    drawn = [random.random(), np.random.random(), torch.rand(3)]
    return kept(module, chosen) | state | {"attributes": sorted(vars(module)), "drawn": drawn}


def values_of(watch: MultimodalMonitor) -> list[Any]:
    """Return what a monitor measured of a model."""
    return [{name: one for name, one in row.values.items() if name not in UNTOLD} for row in watch.history]


UNTOLD = ("seconds", "overhead", "agreement")
"""Values that differ from training to training, and one that is left out where nothing can be compared."""


@pytest.fixture(scope="module")
def references(tmp_path_factory: Any) -> Callable[[str], Reference]:
    """Return what finds the reference of a scene, once."""

    @cache
    def found(name: str) -> Reference:
        scene, weights = SCENES[name], Weights()
        plain = left(tmp_path_factory.mktemp("plain"), scene, weights)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            left(tmp_path_factory.mktemp("first"), scene, *scene.callbacks())  # fills caches
            watch, *others = scene.callbacks()
            calls = calls_of(lambda: left(tmp_path_factory.mktemp("counted"), scene, watch, *others))
        return Reference(plain, weights.found, values_of(watch), calls)

    return found


@contextmanager
def told(logged: list[str], *, strict: bool) -> Iterator[list[str]]:
    """Collect what a monitor warns of; strictly, its warnings are errors, which it logs."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in (MonitorWarning, CollapseWarning) if strict else ():
            warnings.simplefilter("error", kind)
        yield said
    said += [str(one.message) for one in caught if one.category is MonitorWarning]
    said += [message for message in logged if not message.startswith("UnimodalCollapse: text:")]
    logged.clear()


def wrong_with(fault: Fault, name: str, reference: Reference, folder: Path, logged: list[str], *, strict: bool) -> str:
    """Return what a fault changed that it must not; ``""`` where all is well."""
    watch, *others = SCENES[name].callbacks()
    try:
        with told(logged, strict=strict) as said, fault.injected():
            found = left(folder, SCENES[name], watch, *others)
    except Exception as error:
        return f"{fault} ended the training: {type(error).__name__}"
    differing = [key for key, value in reference.left.items() if not same(found[key], value)]
    noted = "".join(row.note for row in watch.history)
    problems = {
        f"changed {differing}": differing,
        f"was told more than once: {said}": len(said) > len(fault.hits),
        "was not told": not said and not noted and values_of(watch) != reference.values,
        "left broken files": broken_files(folder),
    }
    return "; ".join(f"{fault} {problem}" for problem, there in problems.items() if there)


def broken_files(folder: Path) -> list[str]:
    """Return the names of files that are not whole."""
    return [path.name for path in folder.rglob("*") if path.is_file() and not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return all(json.loads(line) for line in data.decode().splitlines())
    return path.suffix != ".half" and (path.suffix != ".png" or data.endswith(b"IEND\xaeB`\x82"))


def seeds(*, watched: int, explained: int, acted_on: int) -> list[Any]:
    """Return names of scenes and numbers of faults."""
    counts = {"watched": watched, "explained": explained, "acted on": acted_on}
    return [(name, seed) for name, count in counts.items() for seed in range(count)]


@pytest.mark.long
@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "seed"), seeds(watched=20, explained=0, acted_on=0))
def test_a_fault_anywhere_leaves_the_training_as_it_would_be(
    tmp_path: Path, references: Callable[[str], Reference], logged_warnings: list[str], name: str, seed: int
) -> None:
    reference = references(name)
    fault = random_fault(reference.calls, seed)
    assert not wrong_with(fault, name, reference, tmp_path, logged_warnings, strict=seed % 4 == 0)
    if not fault.hits:
        pytest.skip(NOT_MADE)


MANY, CHUNK = seeds(watched=500, explained=200, acted_on=300), 10


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # of trainings that resume
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("first", range(0, len(MANY), CHUNK))
def test_a_thousand_faults_leave_the_training_as_it_would_be(
    tmp_path: Path, references: Callable[[str], Reference], logged_warnings: list[str], first: int
) -> None:
    wrong = []
    for name, seed in MANY[first : first + CHUNK]:
        reference = references(name)
        fault, folder = random_fault(reference.calls, 1000 + seed), tmp_path / f"{name}{seed}"
        wrong.append(wrong_with(fault, name, reference, folder, logged_warnings, strict=seed % 4 == 0))
    assert [one for one in wrong if one] == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lightning switches interrupts off when it meets one."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("blank_pictures", "interruptible")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "seed"),
    few(seeds(watched=50, explained=20, acted_on=30), 5),
)
def test_an_interrupt_passes_and_leaves_the_model_as_it_was(
    tmp_path: Path,
    references: Callable[[str], Reference],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    seed: int,
) -> None:
    reference, scene = references(name), SCENES[name]
    drawn, module, weights = random_fault(reference.calls, seed), scene.module(), Weights()
    fault = Fault(drawn.function, drawn.call, KeyboardInterrupt)
    module.load_state_dict(reference.weights[0])
    callbacks = scene.callbacks()
    ended, ignored = False, []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    try:
        with fault.injected():
            fit(tmp_path, scene, module, *callbacks, weights)
    except SystemExit:
        ended = True
    if any(one.exc_type is KeyboardInterrupt for one in ignored):
        pytest.skip("Python ignores what a generator raises that it closes")
    assert ended == bool(fault.hits)
    if not ended:
        pytest.skip(NOT_MADE)
    step = max(weights.found, default=0)
    assert same(module.state_dict(), reference.weights[step])
    assert not {"log", "log_dict", "print", "training_step", "validation_step", "test_step"} & set(vars(module))
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert broken_files(tmp_path) == []
