"""Nothing that the callbacks do can end a training, but a configuration that is wrong from the start."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from toy import Toy, fit, monitor
from torch import Tensor
from unprintable import UNPRINTABLE, Unprintable

from mviz_lightning import ConfigurationError, MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.album import Album
from mviz_lightning.callbacks import trainer as trainer_facts
from mviz_lightning.callbacks.examination import Examination
from mviz_lightning.callbacks.journal import Journal
from mviz_lightning.callbacks.pace import Pace
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.config import StudyConfig
from mviz_lightning.explainers import DIME
from mviz_lightning.history import History
from mviz_lightning.study import Study

INSIDE = (Study, StudyConfig, Examination, Journal, Schedule, Pace, History, Album, UnimodalCollapse, MultimodalMonitor)
"""All that hooks delegate to, beside what is read off the trainer."""

CREATED = {"__init__", "__post_init__", "_reset", "_arrange"}
"""Run when a callback is made, before there is a training."""

NO_HARM = {"keys", "group", "examples", "affordable_groups", "left", "check_outputs", "_rows", "grown", "_require_kinds"}
"""Of a configuration: run when a callback is made."""


class Hostile:
    """A trainer, a model and a batch that cannot be asked anything."""

    def __getattr__(self, name: str) -> Any:
        raise Unprintable


def hooks(kind: type[Callback]) -> list[str]:
    """Return the names of the trainer's hooks that a callback fills."""
    return [name for name in vars(Callback) if getattr(kind, name) is not getattr(Callback, name) and name[0] != "_"]


def arguments(hook: Callable[..., Any]) -> dict[str, Any]:
    """Return hostile arguments for a hook."""
    simple = {"stage": "fit", "batch_idx": 0, "dataloader_idx": 0, "exception": KeyboardInterrupt()}
    return {name: simple.get(name, Hostile()) for name in inspect.signature(hook).parameters}


HOOKS = [(kind, name) for kind in (MultimodalMonitor, UnimodalCollapse) for name in hooks(kind) if name != "state_key"]


def made(kind: type[Callback], **settings: Any) -> Any:
    return monitor(**settings) if kind is MultimodalMonitor else UnimodalCollapse(**settings)


def test_the_walk_meets_all_hooks() -> None:
    assert {name for kind, name in HOOKS if kind is MultimodalMonitor} >= {
        "setup", "state_dict", "load_state_dict", "on_validation_batch_start", "on_validation_batch_end",
        "on_validation_epoch_end", "on_test_batch_start", "on_train_end", "on_fit_end", "on_exception",
    }  # fmt: skip
    assert {name for kind, name in HOOKS if kind is UnimodalCollapse} == {
        "on_fit_start", "on_validation_start", "on_test_start",
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), HOOKS)
def test_a_hook_that_fails_costs_no_more_than_a_warning(kind: type[Callback], name: str) -> None:
    hook = getattr(made(kind), name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hook(**arguments(hook))
    if name not in ("state_dict", "on_exception", "on_fit_end"):  # they ask the trainer nothing
        assert [UNPRINTABLE in str(one.message) or "Hostile" in str(one.message) for one in caught] == [True]


@pytest.mark.parametrize("name", ["setup", "on_validation_batch_end", "on_train_end", "load_state_dict"])
def test_a_user_who_wants_errors_gets_those_of_hooks_too(name: str) -> None:
    hook = getattr(monitor(on_error="raise"), name)
    with pytest.raises((Unprintable, ValueError)):
        hook(**arguments(hook))


class Spoil(Callback):
    """Makes something raise from an epoch on; from the setup on where the epoch is -1."""

    def __init__(self, where: Any, name: str, error: type[Exception], since: int) -> None:
        self.where, self.name, self.error, self.since = where, name, error, since
        self.original, self.hits = inspect.getattr_static(where, name), 0

    def begin(self) -> None:
        def failing(*_: Any, **__: Any) -> Any:
            self.hits += 1
            raise self.error

        setattr(self.where, self.name, property(failing) if isinstance(self.original, property) else failing)

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == self.since:
            self.begin()

    def __enter__(self) -> "Spoil":
        if self.since < 0:
            self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.where, self.name, self.original)


def inner() -> list[tuple[Any, str]]:
    """Return all methods that hooks lead to, and the functions that ask the trainer."""
    found = [
        (kind, name)
        for kind in INSIDE
        for name, value in vars(kind).items()
        if (inspect.isfunction(value) or isinstance(value, property)) and name not in CREATED | NO_HARM
        if not name.startswith("__") and name not in hooks(kind if issubclass(kind, Callback) else Callback)
    ]
    facts = [(trainer_facts, name) for name, value in vars(trainer_facts).items() if inspect.isfunction(value)]
    return found + [(module, name) for module, name in facts if getattr(module, name).__module__ == module.__name__]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: Any) -> dict[str, Tensor]:
    module = Toy()
    fit(tmp_path_factory.mktemp("bare"), module=seeded(), max_epochs=3)
    del module
    return weights(tmp_path_factory.mktemp("again"))


def seeded() -> LightningModule:
    torch.manual_seed(1)
    return Toy()


def weights(folder: Any, *callbacks: Any) -> dict[str, Tensor]:
    """Train, and return the weights."""
    module = seeded()
    chosen = fit(folder, *callbacks, module=module, max_epochs=3, enable_checkpointing=bool(callbacks))
    assert chosen.current_epoch == 3
    return module.state_dict()


@pytest.mark.parametrize(("error", "since"), [(Unprintable, -1), (Unprintable, 1), (ConfigurationError, 1)])
@pytest.mark.parametrize(("where", "name"), inner(), ids=lambda found: getattr(found, "__name__", found))
def test_whatever_fails_inside_the_training_ends_as_it_would_without(
    tmp_path: Any, undisturbed: dict[str, Tensor], where: Any, name: str, error: type[Exception], since: int
) -> None:
    watch = monitor(explainers=[DIME(num_examples=1)], every_n_validations=1)
    callbacks = [watch, UnimodalCollapse("stop"), ModelCheckpoint(tmp_path)]
    callbacks += [EarlyStopping("mviz/weakest_total", mode="max", patience=9)]
    with Spoil(where, name, error, since) as spoil, warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)
        found = weights(tmp_path, spoil, *callbacks)
    print("HIT", where.__name__, name, since, spoil.hits)
    assert all(torch.equal(found[key], undisturbed[key]) for key in undisturbed)
