"""Connect a monitor and its alarm among the trainer's callbacks, in any order."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mviz_lightning.batch import Modality
from mviz_lightning.callbacks.lightning_packages import LightningModule, Trainer
from mviz_lightning.callbacks.portable import Portable
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.errors import ConfigurationError, Guard
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import Alert, RunRecord

Unguarded: TypeAlias = Callable[[Callable[[], Any]], Any]
"""Calls a user's function; an error in it ends the training."""


@dataclass(frozen=True)
class Judgement:
    """A run with the results of an alarm.

    Attributes:
        row: The run, with the states of all modalities among its values.
        score_references: Head -> reference for its scores from now on; ``""`` is the main head.
    """

    row: RunRecord
    score_references: Mapping[str, ScoreReference]


class Monitor(Portable):
    """A callback that measures.

    Attributes:
        name: Prefix of its logged keys.
    """

    name: str


class Alarm(Portable):
    """A callback that judges the measurements of one monitor.

    Attributes:
        monitor: Name of the monitor; None if there is only one.
        kin: Path of the leaf of the batch with equal entries for related examples (kin); None if no two are related.
        verdicts: Modality -> verdict of the latest check.
    """

    monitor: str | None
    kin: str | None
    verdicts: Any

    def reads(self, monitor: str, monitors: Sequence[str]) -> bool:
        """Return whether the alarm reads this monitor.

        Args:
            monitor: Name of the monitor.
            monitors: Names of all monitors of the trainer.

        Raises:
            ConfigurationError: There are several monitors, and the user named none.
        """
        if self.monitor is None and len(monitors) > 1:
            raise ConfigurationError(
                f"UnimodalCollapse: there are the monitors {list(monitors)}; pass "
                f"UnimodalCollapse(monitor={monitors[0]!r})."
            )
        return self.monitor in (None, monitor)

    @abstractmethod
    def begin(self, modalities: Mapping[str, Modality], history: History) -> None:
        """Begin to watch these modalities in the runs of a history."""

    @abstractmethod
    def judge(self, row: RunRecord, history: History, session: Session, guard: Guard) -> Judgement:
        """Judge a run by the runs before it."""

    @abstractmethod
    def announce(self, trainer: Trainer, row: RunRecord) -> list[Alert]:
        """Report the changes of a run on the console; return the alerts for the loggers."""

    @abstractmethod
    def act(self, trainer: Trainer, pl_module: LightningModule, row: RunRecord, unguarded: Unguarded) -> None:
        """Call the user's actions when a modality collapses."""

    @abstractmethod
    def conclude(self, history: History) -> str:
        """Return the state of every modality at the end of the fit, one line each."""


def monitors(trainer: Any) -> list[str]:
    """Return the names of the monitors among the trainer's callbacks."""
    return [callback.name for callback in trainer.callbacks if isinstance(callback, Monitor)]


def require_own_name(trainer: Any, name: str) -> None:
    """Raise a ConfigurationError if another monitor of the trainer has the same name: their keys would collide."""
    if (count := monitors(trainer).count(name)) > 1:
        raise ConfigurationError(
            f"{count} monitors of the trainer have name={name!r} and would log the same keys; give each its own, "
            f"MultimodalMonitor(..., name={name + '2'!r})."
        )


def alarm_of(trainer: Any, monitor: str, modalities: Mapping[str, Modality], history: History) -> Alarm | None:
    """Return the alarm that reads a monitor, and start it; None if there is none.

    Args:
        trainer: The trainer; the alarm may be anywhere among its callbacks.
        monitor: Name of the monitor.
        modalities: The monitor's modalities by name.
        history: The monitor's runs.

    Raises:
        ConfigurationError: Several alarms read this monitor.
    """
    names = monitors(trainer)
    found = [each for each in trainer.callbacks if isinstance(each, Alarm) and each.reads(monitor, names)]
    if len(found) > 1:
        raise ConfigurationError(
            f"{len(found)} UnimodalCollapse read the monitor {monitor!r} and would log the same keys; keep one."
        )
    for alarm in found:
        alarm.begin(modalities, history)
    return found[0] if found else None


def judged(alarm: Alarm | None, row: RunRecord, history: History, session: Session, guard: Guard) -> RunRecord:
    """Return a run with the alarm's states, and store its score references; without an alarm, return it unchanged."""
    if alarm is None:
        return row
    judgement = alarm.judge(row, history, session, guard)
    history.measure_against(judgement.score_references)
    return judgement.row
