"""Nothing that the callbacks do can end a training, but a configuration that is wrong from the start."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.spoil import Spoil
from helpers.toy import Toy, fit, monitor
from helpers.unprintable import UNPRINTABLE, NumericError, UnprintableError, UnprintableRuntimeError, WordyError
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from mviz_lightning import ConfigurationError, MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.actions import Alarms, ModalityDropout
from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.acting import Acting
from mviz_lightning.callbacks.acting_alarm import ActingAlarm
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.measurement_run import MeasurementRun
from mviz_lightning.callbacks.measuring import Measuring
from mviz_lightning.callbacks.monitor_state import Remembering
from mviz_lightning.callbacks.reporter import Reporter
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.callbacks.time_budget import TimeBudget
from mviz_lightning.callbacks.trainer_run import TrainerRun
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.explainers import DIME, ErrorAnalysis
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.explaining_session import ExplainingSession
from mviz_lightning.session.explanation_history import ExplanationHistory
from mviz_lightning.session.headed_session import HeadedSession
from mviz_lightning.session.history import History
from mviz_lightning.session.labelled_session import LabelledSession
from mviz_lightning.session.preparation import Preparation
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import RunRecord, State

INSIDE = (
    Preparation,
    LabelledSession,
    HeadedSession,
    ExplainingSession,
    Session,
    SessionConfig,
    MeasurementRun,
    Reporter,
    Schedule,
    TimeBudget,
    History,
    ExplanationHistory,
    UnimodalCollapse,
    ActingAlarm,
    Acting,
    Remembering,
    Measuring,
    MultimodalMonitor,
    TrainerRun,
)
"""All that hooks delegate to, beside what is read off the trainer."""

CREATED = {
    "__init__",
    "__post_init__",
    "_keep_checked",
    "_keep_flags",
    "_reset",
    "_arrange",
    "act",
    "_act",
    "act_on_check",
}
"""Run when a callback is made, before there is a training; and what calls the function of a user's, which may raise, or
holds the guard itself."""

NO_HARM = {
    "keys", "group", "examples", "affordable_groups", "left", "check_outputs", "_rows", "base_grouping", "grouping",
    "may_grow", "_require_types", "_require_numbers", "_require_groups",
}  # fmt: skip
"""Of a configuration: run when a callback is made."""


class Hostile:
    """A trainer, a model and a batch that cannot be asked anything."""

    def __getattr__(self, name: str) -> Any:
        raise UnprintableError


def hooks(kind: type[Callback]) -> list[str]:
    """Return the names of the trainer's hooks that a callback fills."""
    return [name for name in vars(Callback) if getattr(kind, name) is not getattr(Callback, name) and name[0] != "_"]


def arguments(hook: Callable[..., Any]) -> dict[str, Any]:
    """Return hostile arguments for a hook."""
    simple = {"stage": "fit", "batch_idx": 0, "dataloader_idx": 0, "exception": KeyboardInterrupt()}
    return {name: simple.get(name, Hostile()) for name in inspect.signature(hook).parameters}


HOOKS = [(kind, name) for kind in (MultimodalMonitor, UnimodalCollapse) for name in hooks(kind) if name != "state_key"]


def made(kind: type[Callback], hook: str) -> Any:
    return monitor() if kind is MultimodalMonitor else standing(hook in ("on_train_batch_end", "on_train_end"))


def standing(stuck: bool) -> UnimodalCollapse:
    """Return an alarm that stands in a fit; perhaps what changed a batch cannot be undone."""
    watch, alarm = monitor(), UnimodalCollapse(ModalityDropout())
    alarm.begin(watch.config.modalities, watch.history)
    alarm._acting = Acting(alarm._objects, alarm._error_policy)
    alarm._acting.alarms = Alarms(Hostile(), torch.nn.Identity(), watch.config.modalities, ["text"])
    if stuck:
        alarm._acting._batch.callback(lambda: Hostile().undo)
    return alarm


def test_the_walk_meets_all_hooks() -> None:
    assert {name for kind, name in HOOKS if kind is MultimodalMonitor} >= {
        "setup", "state_dict", "load_state_dict", "on_validation_batch_start", "on_validation_batch_end",
        "on_validation_epoch_end", "on_validation_end", "on_test_batch_start", "on_train_end", "on_fit_end",
        "on_exception", "teardown",
    }  # fmt: skip
    assert {name for kind, name in HOOKS if kind is UnimodalCollapse} == {
        "on_fit_start", "on_validation_start", "on_test_start", "on_train_start", "on_train_batch_start",
        "on_train_batch_end", "on_validation_end", "on_train_end", "on_exception", "teardown",
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), HOOKS)
def test_a_hook_that_fails_costs_no_more_than_a_warning(kind: type[Callback], name: str) -> None:
    hook = getattr(made(kind, name), name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hook(**arguments(hook))
    # Some ask the trainer nothing; and what fails while a batch is collected is kept until all processes meet.
    if name not in ("state_dict", "on_exception", "on_fit_end", "on_validation_batch_start", "on_test_batch_start"):
        assert [UNPRINTABLE in str(one.message) or "Hostile" in str(one.message) for one in caught] == [True]


@pytest.mark.parametrize("name", ["setup", "on_validation_batch_end", "on_train_end", "load_state_dict"])
def test_a_user_who_wants_errors_gets_those_of_hooks_too(name: str) -> None:
    hook = getattr(monitor(on_error="raise"), name)
    with pytest.raises((UnprintableError, ValueError)):
        hook(**arguments(hook))


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


EPOCHS = len(inner()) + 1


class Sweep(Callback):
    """Makes something else raise in every epoch but the first."""

    def __init__(self, error: type[Exception]) -> None:
        self.spoils = [Spoil(where, name, error) for where, name in inner()]
        self.now: list[Spoil] = []

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.mend()
        if trainer.current_epoch > 0:
            self.now = [self.spoils[trainer.current_epoch - 1]]
            self.now[0].__enter__()

    def mend(self) -> None:
        for spoil in self.now:
            spoil.__exit__()
        self.now = []


def weights(folder: Any, *callbacks: Any, epochs: int) -> dict[str, Tensor]:
    """Train, and return the weights."""
    torch.manual_seed(1)
    module = Toy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)
        chosen = fit(folder, *callbacks, module=module, max_epochs=epochs, enable_checkpointing=bool(callbacks))
    assert chosen.current_epoch == epochs
    return module.state_dict()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def attached(folder: Any) -> list[Callback]:
    """Return the callbacks of a training that watches, and others that depend on what is logged."""
    stop = EarlyStopping("mviz/weakest_total", mode="max", patience=10**6)
    return [
        monitor(explainers=[DIME(num_examples=1), ErrorAnalysis(every_n_validations=1)]),
        UnimodalCollapse("stop"),
        ModelCheckpoint(folder, every_n_epochs=1),
        stop,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("error", [UnprintableError, ConfigurationError])
def test_whatever_fails_in_an_epoch_the_training_ends_as_it_would_without(
    tmp_path: Any, blank_pictures: None, error: type[Exception]
) -> None:
    sweep = Sweep(error)
    try:
        found = weights(tmp_path, sweep, *attached(tmp_path), epochs=EPOCHS)
    finally:
        sweep.mend()
    assert same(found, weights(tmp_path, epochs=EPOCHS))
    hit = {(spoil.where.__name__.rpartition(".")[2], spoil.name) for spoil in sweep.spoils if spoil.hits}
    assert hit >= {
        ("Session", "run"), ("ExplainingSession", "explain"), ("MeasurementRun", "attempt"), ("Reporter", "write"),
        ("Schedule", "count"),
        ("UnimodalCollapse", "judge"), ("UnimodalCollapse", "announce"), ("TrainerRun", "publish"),
        ("trainer_facts", "log"), ("trainer_facts", "step"), ("trainer_facts", "is_last_batch"),
        ("History", "state"), ("Preparation", "collect"),
    }  # fmt: skip


OUTERMOST = {
    ("TrainerRun", "publish"), ("trainer_facts", "logged"), ("TrainerRun", "collect"), ("TrainerRun", "dry_run"),
    ("Preparation", "failures_kept"),
}  # fmt: skip
"""Methods that hold the guards themselves: ``publish`` logs the placeholders of a failed run under names of ``logged``,
and the others keep the failure of a batch until all processes meet. If one of them fails at every batch, nothing is
left to report it."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "name"),
    [(where, name) for where, name in inner() if (where.__name__.rpartition(".")[2], name) not in OUTERMOST],
    ids=lambda found: getattr(found, "__name__", found),
)
def test_whatever_fails_from_the_setup_on_the_training_ends_as_it_would_without(
    tmp_path: Any, unwatched: dict[str, Tensor], blank_pictures: None, where: Any, name: str
) -> None:
    ends_as_without(tmp_path, unwatched, where, name)


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: Any) -> dict[str, Tensor]:
    """Return the weights of a training of two epochs that nothing watches."""
    return weights(tmp_path_factory.mktemp("unwatched"), epochs=2)


def ends_as_without(folder: Any, unwatched: dict[str, Tensor], where: Any, name: str) -> None:
    callbacks = attached(folder)
    with Spoil(where, name, UnprintableError):
        assert same(weights(folder, *callbacks, epochs=2), unwatched)


SETUP = [
    (trainer_facts, "run_folder"), (trainer_facts, "ranks"),
    (Session, "dry_run"), (Session, "collect"), (Session, "check"),
    (UnimodalCollapse, "begin"), (Schedule, "clear"), (Reporter, "finish"), (TrainerRun, "attach"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("where", "name"), SETUP, ids=lambda found: getattr(found, "__name__", found))
def test_what_fails_before_the_training_lets_it_begin(
    tmp_path: Any, unwatched: dict[str, Tensor], where: Any, name: str
) -> None:
    ends_as_without(tmp_path, unwatched, where, name)


@pytest.mark.long
@pytest.mark.parametrize("kind", [UnprintableError, UnprintableRuntimeError, NumericError, WordyError])
def test_an_error_that_cannot_be_printed_costs_one_run(tmp_path: Any, kind: type[Exception]) -> None:
    def predict(module: Any, batch: Any) -> Any:
        if module.current_epoch == 1:
            raise kind
        return module(*batch[:2])

    watch = monitor(predict=predict)
    with pytest.warns(MonitorWarning, match=f"a run failed.*{kind.__name__}: "):
        fit(tmp_path, watch, max_epochs=3)
    assert [bool(row.values) for row in watch.history] == [True, False, True]
    assert kind.__name__ in watch.history[1].note


def test_what_the_action_of_a_user_raises_still_ends_the_training() -> None:
    def act(trainer: Any, module: Any, verdict: Verdict) -> None:
        raise KeyError("the user's own")

    alarm = UnimodalCollapse(act)
    alarm._changed = [Verdict("image", State.COLLAPSED)]
    with pytest.raises(KeyError, match="the user's own"):
        alarm.act(None, None, RunRecord("fit", 0, 0), ErrorPolicy().unguarded)
