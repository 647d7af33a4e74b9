"""The state of the monitor in checkpoints and copies: history, explanations, schedule and fixed examples."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.alarm_pairing import Monitor, require_own_name
from mviz_lightning.callbacks.error_policy import ErrorPolicy, guarded
from mviz_lightning.callbacks.lightning_packages import LightningModule, Trainer
from mviz_lightning.callbacks.return_address import Returned
from mviz_lightning.callbacks.revisiting import Revisited
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.checkpoint.saved import DamagedError, Saved, plain
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.explanation_history import ExplanationHistory
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session

SKIPPED = (
    "no run at step {step}: the checkpoint was written before the validation of that step, which Lightning leaves out "
    "when it resumes; ModelCheckpoint(every_n_epochs=1, save_on_train_epoch_end=False) writes after each validation"
)
"""Line of the log about a validation that a resumed training leaves out."""


class Remembering(Monitor):
    """A monitor that continues with the history, the explanations and the examples of its fit."""

    RUNNING = Monitor.RUNNING | {"_run", "_error_policy", "_closing"}
    RETURNED = frozenset({"history", "explanation_history", "_schedule", "_fit_session"})

    config: SessionConfig
    history = Returned[History]()
    explanation_history = Returned[ExplanationHistory]()
    _schedule: Schedule
    _fit_session: Session
    _error_policy: ErrorPolicy
    _phase: str
    _checkpoint_bytes: int
    _revisited: Revisited | None = None

    @abstractmethod
    def _reset(self, session: Session) -> None:
        """Begin a run of a trainer: set the attributes that ``RUNNING`` names."""

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue with the examples and the history of the fit, or begin anew."""
        require_own_name(trainer, self.name)
        if self._address.is_abroad and (found := self._address.peek()):  # results of an earlier run, also in a fork
            self._take(found)
        fits, again = self._phase == "fit", self._revisited is not None
        continues = fits and not again and trainer.global_step > 0 and self._fit_session.measures(pl_module)
        session = self._fit_session if continues else Session(self.config)
        self._reset(session)
        if fits and not continues:
            self._fit_session = session
            for past in (self._schedule, *(() if again else (self.history, self.explanation_history))):
                past.clear()

    def revisit(self, moment: Revisited) -> None:
        """Measure each further validation as the validation of a training at a moment.

        All methods are due at it. The runs of all moments form one history. Each run is judged by the earlier runs of
        its training, as far as the checkpoint holds them.

        Args:
            moment: The moment of the next validation. The trainer's own epoch and step are those of the checkpoint.
        """
        self._revisited = moment
        self.history.judge_alone()

    @guarded
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a line about a validation that a resumed training leaves out."""
        step = trainer_facts.step(trainer)
        if trainer_facts.skips_validation(trainer) and all(row.step != step for row in self.history.fitted):
            self._fit_session.remarks.say(SKIPPED.format(step=step))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_fit_session": self._fit_session.state(self._checkpoint_bytes)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._take(state)

    def _take(self, found: Mapping[str, Any]) -> None:
        vars(self).update(found)
        self._fit_session = Session(self.config)
        self._fit_session.load(found["_fit_session"])
        self._reset(self._fit_session)

    @property
    def state_key(self) -> str:
        """Key of the monitor's state in a checkpoint; it contains the name of the monitor."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return history and probe in plain types, which PyTorch loads also with ``weights_only=True``."""
        return self._error_policy.guard(self._state, {}) or {}

    def _state(self) -> dict[str, Any]:
        lost: list[str] = []
        past = {
            "modalities": self._leaves,
            "history": self.history.state(),
            "album": self.explanation_history.state(),
            **self._schedule.state(),
        }
        state: dict[str, Any] = plain(past | {"probe": self._fit_session.state(self._checkpoint_bytes)}, "", lost)
        if lost:
            self._error_policy.warn(
                f"checkpoints store numbers, strings and tensors; they are written without {'; '.join(lost)}"
            )
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the history and, in fit, with the same probe; outside fit, keep an existing history."""
        self._error_policy.guard(partial(self._load, state_dict), failed="the checkpoint could not be read")

    def _load(self, state_dict: dict[str, Any]) -> None:
        saved = Saved(state_dict)
        saved.leave_out_all_but({"modalities", "history", "album", "probe", *self._schedule.state()})
        if self._revisited is not None:
            self._go_back(saved, self._revisited)
        elif self._phase == "fit" or not self.history:
            self.history.load(saved["history"])
        if self._phase == "fit" and self._revisited is None:
            self.explanation_history.load(saved["album"])
            self._schedule.load(saved)
            self._fit_session.load(saved["probe"])
            self._compare(saved)
        self._report_damages(saved)

    def _go_back(self, saved: Saved, moment: Revisited) -> None:
        """Take the examples and the earlier runs from the checkpoint of a moment; nothing if the data are others."""
        if moment.same_data:
            training = History(self.history.modalities)
            training.load(saved["history"])
            self.history.look_back(training, moment.step)
            self._fit_session.load(saved["probe"])
            self._fit_session.forget_runs_at((moment.epoch, moment.step))
            self._compare(saved)

    @property
    def _leaves(self) -> dict[str, list[str]]:
        """Name of each modality -> its paths."""
        return {name: list(modality.leaves) for name, modality in self.config.modalities.items()}

    def _compare(self, saved: Saved) -> None:
        """Warn of modalities that differ from those of the checkpoint; older versions did not write them."""
        before = saved["modalities"].read(dict[str, list[str]]) if saved.holds("modalities") else None
        now = self._leaves
        if before is not None and before != now:
            others = {name: leaves for name, leaves in before.items() if now.get(name) != leaves}
            added = {name: leaves for name, leaves in now.items() if before.get(name) != leaves}
            self._error_policy.warn(
                f"the checkpoint has the modalities {others}, and modalities= has {added} instead: curves of removed "
                "names end, and a name that stays now has values of other inputs. The training goes on."
            )

    def _report_damages(self, saved: Saved) -> None:
        try:
            saved.raise_damages()
        except DamagedError as damages:
            self._error_policy.absorb(damages)
            self._error_policy.warn(f"{damages}. The training goes on.")
