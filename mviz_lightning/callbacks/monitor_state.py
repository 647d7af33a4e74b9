"""What checkpoints and copies of the monitor keep: its history, explanations, schedule and fixed examples."""

from abc import abstractmethod
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from mviz_lightning.callbacks.alarm_pairing import Monitor, require_own_name
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.checkpoint.saved import DamagedError, Saved, plain
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.explanation_history import ExplanationHistory
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session


class Remembering(Monitor):
    """A monitor that continues with the history, the explanations and the examples of its fit."""

    RUNNING = Monitor.RUNNING | {"_run", "_error_policy"}

    config: SessionConfig
    history: History
    explanation_history: ExplanationHistory
    _schedule: Schedule
    _fit_session: Session
    _error_policy: ErrorPolicy
    _phase: str
    _checkpoint_bytes: int

    @abstractmethod
    def _reset(self, session: Session) -> None:
        """Begin a run of a trainer: set the attributes that ``RUNNING`` names."""

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue with the examples and the history of the fit, or begin anew."""
        require_own_name(trainer, self.name)
        fits = self._phase == "fit"
        continues = fits and trainer.global_step > 0 and self._fit_session.measures(pl_module)
        session = self._fit_session if continues else Session(self.config)
        self._reset(session)
        if fits and not continues:
            self._fit_session = session
            for past in (self.history, self.explanation_history, self._schedule):
                past.clear()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_fit_session": self._fit_session.state(self._checkpoint_bytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fit_session = Session(self.config)
        self._fit_session.load(state["_fit_session"])
        self._reset(self._fit_session)

    @property
    def state_key(self) -> str:
        """Key of the monitor's state in a checkpoint; monitors of other names have other keys."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return history and probe in plain types, which every way of loading checkpoints accepts."""
        return self._error_policy.guard(self._state, {}) or {}

    def _state(self) -> dict[str, Any]:
        lost: list[str] = []
        past = {"history": self.history.state(), "album": self.explanation_history.state(), **self._schedule.state()}
        state: dict[str, Any] = plain(past | {"probe": self._fit_session.state(self._checkpoint_bytes)}, "", lost)
        if lost:
            self._error_policy.warn(
                f"checkpoints take numbers, texts and tensors, and are written without {'; '.join(lost)}"
            )
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the history and, in fit, with the same probe; outside fit a history that is there stays."""
        self._error_policy.guard(partial(self._load, state_dict), failed="the checkpoint could not be read")

    def _load(self, state_dict: dict[str, Any]) -> None:
        saved = Saved(state_dict)
        saved.leave_out_all_but({"history", "album", "probe", *self._schedule.state()})
        if self._phase == "fit" or not self.history:
            self.history.load(saved["history"])
        if self._phase == "fit":
            self.explanation_history.load(saved["album"])
            self._schedule.load(saved)
            self._fit_session.load(saved["probe"])
        self._report_damages(saved)

    def _report_damages(self, saved: Saved) -> None:
        try:
            saved.raise_damages()
        except DamagedError as damages:
            self._error_policy.absorb(damages)
            self._error_policy.warn(f"{damages}. The training goes on.")
