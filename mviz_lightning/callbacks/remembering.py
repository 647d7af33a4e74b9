"""The monitor's past: what checkpoints and copies of it keep."""

from abc import abstractmethod
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.portable import Portable
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.checkpoint.saved import Saved, plain
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.explanation_history import ExplanationHistory
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session


class Remembering(Portable):
    """A callback that goes on with the history, the explanations and the examples of its fit."""

    RUNNING = Portable.RUNNING | {
        "_study", "_warner", "_row", "_entries", "_seen", "_disabled", "_alarm", "_keys", "_journal", "_examination",
    }  # fmt: skip

    config: SessionConfig
    name: str
    history: History
    explanation_history: ExplanationHistory
    _schedule: Schedule
    _session: Session
    _fit_session: Session
    _error_policy: ErrorPolicy
    _stage: str
    _checkpoint_bytes: int

    @abstractmethod
    def _reset(self, session: Session) -> None:
        """Begin a run of a trainer: set what ``RUNNING`` names."""

    def _begin(self, trainer: Trainer, pl_module: LightningModule, *, fits: bool) -> None:
        """Go on with a fit's examples and history, or begin anew."""
        continues = fits and trainer.global_step > 0 and self._fit_session.studies(pl_module)
        self._reset(self._fit_session if continues else Session(self.config))
        if fits and not continues:
            self._fit_session = self._session
            for past in (self.history, self.explanation_history, self._schedule):
                past.clear()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_fit_study": self._fit_session.state(self._checkpoint_bytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fit_session = Session(self.config)
        self._fit_session.load(state["_fit_study"])
        self._reset(self._fit_session)

    @property
    def state_key(self) -> str:
        """A monitor of another name keeps a state of its own."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return history and probe in plain types, which every way of loading checkpoints takes."""
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
        """Go on with the history and, in fit, with the same probe; elsewhere keep a history that is there."""
        self._error_policy.guard(partial(self._load, state_dict))

    def _load(self, state_dict: dict[str, Any]) -> None:
        saved = Saved(state_dict)
        saved.leave_out_all_but({"history", "album", "probe", *self._schedule.state()})
        if self._stage == "fit" or not self.history:
            self.history.load(saved["history"])
        if self._stage == "fit":
            self.explanation_history.load(saved["album"])
            self._schedule.load(saved)
            self._session.load(saved["probe"])
        saved.raise_damages()
