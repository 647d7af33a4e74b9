"""The monitor's past: what checkpoints and copies of it keep."""

from abc import abstractmethod
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from mviz_lightning.album import Album
from mviz_lightning.callbacks.portable import Portable
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.callbacks.warner import Warner
from mviz_lightning.config import StudyConfig
from mviz_lightning.history import History
from mviz_lightning.plain import Saved, plain
from mviz_lightning.study import Study


class Remembering(Portable):
    """A callback that goes on with the history, the explanations and the examples of its fit."""

    RUNNING = Portable.RUNNING | {
        "_study", "_warner", "_row", "_entries", "_seen", "_disabled", "_alarm", "_keys", "_journal", "_examination",
    }  # fmt: skip

    config: StudyConfig
    name: str
    history: History
    album: Album
    _schedule: Schedule
    _study: Study
    _fit_study: Study
    _warner: Warner
    _stage: str
    _checkpoint_bytes: int

    @abstractmethod
    def _reset(self, study: Study) -> None:
        """Begin a run of a trainer: set what ``RUNNING`` names."""

    def _begin(self, trainer: Trainer, pl_module: LightningModule, *, fits: bool) -> None:
        """Go on with a fit's examples and history, or begin anew."""
        continues = fits and trainer.global_step > 0 and self._fit_study.studies(pl_module)
        self._reset(self._fit_study if continues else Study(self.config))
        if fits and not continues:
            self._fit_study = self._study
            for past in (self.history, self.album, self._schedule):
                past.clear()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_fit_study": self._fit_study.state(self._checkpoint_bytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fit_study = Study(self.config)
        self._fit_study.load(state["_fit_study"])
        self._reset(self._fit_study)

    @property
    def state_key(self) -> str:
        """A monitor of another name keeps a state of its own."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return history and probe in plain types, which every way of loading checkpoints takes."""
        return self._warner.guard(self._state, {}) or {}

    def _state(self) -> dict[str, Any]:
        lost: list[str] = []
        past = {"history": self.history.state(), "album": self.album.state(), **self._schedule.state()}
        state: dict[str, Any] = plain(past | {"probe": self._fit_study.state(self._checkpoint_bytes)}, "", lost)
        if lost:
            self._warner.warn(f"checkpoints take numbers, texts and tensors, and are written without {'; '.join(lost)}")
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history and, in fit, with the same probe; elsewhere keep a history that is there."""
        self._warner.guard(partial(self._load, state_dict))

    def _load(self, state_dict: dict[str, Any]) -> None:
        saved = Saved(state_dict)
        saved.leave_out_all_but({"history", "album", "probe", *self._schedule.state()})
        if self._stage == "fit" or not self.history:
            self.history.load(saved["history"])
        if self._stage == "fit":
            self.album.load(saved["album"])
            self._schedule.load(saved)
            self._study.load(saved["probe"])
        saved.raise_damages()
