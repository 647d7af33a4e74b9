"""An alarm with actions: hooks of the trainer that call them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from mviz_lightning.actions import Action, Alarms, StopTraining
from mviz_lightning.batch import Modality
from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.acting import Acting
from mviz_lightning.callbacks.alarm_pairing import Alarm, Unguarded
from mviz_lightning.callbacks.error_policy import ErrorPolicy, Hook
from mviz_lightning.callbacks.lightning_packages import LightningModule, Trainer, rank_zero_info
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.engine.model_call import resolve_function
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens
from mviz_lightning.errors import ConfigurationError, Guard
from mviz_lightning.errors.arguments import plain_argument
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import RunRecord, State, of_head

Function: TypeAlias = Callable[[Any, Any, Verdict], None]
"""A user's function of trainer, module and verdict; trainer and module may come from either Lightning package."""

OneAction: TypeAlias = str | Action | Function

Actions: TypeAlias = Sequence[OneAction] | OneAction
"""One action, or several. The sequence is first, because LightningCLI would otherwise read a list as a string."""

NOT_UNDONE = "what an action changed could not be undone"
"""Beginning of a warning."""


def undone_at_error(hook: Hook) -> Hook:
    """Decorate a hook of an acting alarm: an error in it becomes a warning, and all its actions are undone."""

    @wraps(hook)
    def safe(self: Any, *arguments: Any, **named: Any) -> None:
        failed = f"{hook.__name__} failed, so no action acts until the next check"
        if self._error_policy.guard(partial(hook, self, *arguments, **named), False, failed=failed) is False:
            self._error_policy.guard(self._undo, failed=NOT_UNDONE)

    return cast("Hook", safe)


class ActingAlarm(Alarm):
    """An alarm with actions. The present alarms are read from the history, so a resumed training continues the actions.

    Attributes:
        action: The ``action`` argument of the user.
    """

    RUNNING = Alarm.RUNNING | {"_acting", "_history", "_modalities"}

    action: Any
    _error_policy: ErrorPolicy
    _acting: Acting | None = None
    _history: History | None = None
    _modalities: Mapping[str, Modality] = MappingProxyType({})

    def _prepare(self, modalities: Mapping[str, Modality], history: History | None) -> None:
        """Undo earlier actions; take the modalities and the history of the monitor (None outside a fit)."""
        self._undo()
        self._modalities, self._history, self._acting = modalities, history, None

    def _undo(self) -> None:
        """Undo all actions."""
        if self._acting is not None:
            self._error_policy.guard(self._acting.leave, failed=NOT_UNDONE)

    @property
    def _objects(self) -> list[Action]:
        return [one for one in actions_of(self.action) if isinstance(one, Action)]

    def _find_encoders(self, verdicts: Mapping[str, Verdict], history: History, session: Session, guard: Guard) -> None:
        """Find the encoders at the first alarm, on all processes, if an action uses them."""
        collapsed = any(verdict.state is State.COLLAPSED for verdict in verdicts.values())
        if collapsed and not history.encoders and any(action.uses_encoders for action in self._objects):
            found = guard(session.encoders, {}) or {}
            history.keep_encoders(found)
            named = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in found.items())
            rank_zero_info(f"UnimodalCollapse: submodules that are used for one modality alone: {named or 'none'}")

    def _act(
        self,
        trainer: Trainer,
        module: LightningModule,
        row: RunRecord,
        changed: Sequence[Verdict],
        unguarded: Unguarded,
    ) -> None:
        """Act on a check of the fit; a user's function may raise."""
        began = [verdict for verdict in changed if verdict.state is State.COLLAPSED]
        for function in actions_of(self.action):
            for verdict in () if isinstance(function, Action) else began:
                unguarded(partial(function, trainer, module, verdict))
        self.act_on_check(trainer, module, row, list(dict.fromkeys(verdict.modality for verdict in began)))

    @undone_at_error
    def act_on_check(self, trainer: Trainer, module: LightningModule, row: RunRecord, began: Sequence[str]) -> None:
        """Call the actions with the alarms that a check found."""
        if self._acting is not None and row.values:  # without values, the previous alarms remain
            self._acting.stand(self._alarms(trainer, module, row, began), checked=True)

    def _alarms(
        self, trainer: Trainer, module: LightningModule, row: RunRecord | None, began: Sequence[str] = ()
    ) -> Alarms:
        values, heads = ({}, []) if row is None else (row.values, ["", *row.heads])
        states = {name: [values.get(of_head(head, f"collapse/{name}")) for head in heads] for name in self._modalities}
        silent = [name for name, found in states.items() if State.COLLAPSED in found]
        encoders = {} if self._history is None else self._history.encoders
        stops = trainer_facts.may_stop(trainer)
        tokens = placeholder_tokens(module, self._modalities)
        return Alarms(trainer, module, self._modalities, silent, began, values, encoders, stops, tokens)

    def _announced(self, trainer: Trainer, verdict: Verdict, row: RunRecord) -> str:
        """Return what the actions will do about an alarm that begins, one line each."""
        if verdict.state is not State.COLLAPSED or row.phase != "fit":
            return ""
        alarms = self._alarms(trainer, trainer.lightning_module, row, [verdict.modality])
        said = (
            self._error_policy.guard(
                partial(action.announce, alarms), failed=f"{type(action).__name__}.announce failed"
            )
            for action in self._objects
        )
        return "\n".join(filter(None, said))

    @undone_at_error
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the actions' arguments; if a training continues, continue with its alarms."""
        if self._history is None:  # no monitor began the alarm
            return
        self._acting = Acting(self._objects, self._error_policy)
        try:
            self._acting.require(self._alarms(trainer, pl_module, None))
        except ConfigurationError as error:
            self._error_policy.absorb(error, fatal=True)
        last = self._history.fitted[-1] if self._history.fitted else None
        self._acting.stand(self._alarms(trainer, pl_module, last), checked=False)

    @undone_at_error
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Let actions change the batch of the training step."""
        if self._acting is not None:
            self._acting.begin_batch(trainer_facts.batch_number(trainer))

    @undone_at_error
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Restore the model after the batch."""
        if self._acting is not None:
            self._acting.end_batch()

    @undone_at_error
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call the actions with the check of this validation, after all other callbacks have read its values."""
        if self._acting is not None and not trainer.sanity_checking:
            self._acting.after_validation()

    @undone_at_error
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo all actions."""
        self._prepare({}, None)

    @undone_at_error
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Undo all actions."""
        self._prepare({}, None)


def resolved(action: Any) -> Any:
    """Return ``action=`` with every dotted path imported.

    Raises:
        ConfigurationError: The argument has a value that is not allowed.
    """
    given = plain_argument(action)
    return [_resolved(one) for one in given] if isinstance(given, list | tuple) else _resolved(given)


def actions_of(action: Any) -> list[Any]:
    """Return the actions and functions that ``action=`` stands for; none for ``"warn"``."""
    listed = action if isinstance(action, list | tuple) else [action]
    return [StopTraining() if one == "stop" else one for one in listed if one != "warn"]


def _resolved(action: Any) -> Any:
    found = resolve_function(action, "action") if isinstance(action, str) and "." in action else action
    if isinstance(found, type) and issubclass(found, Action):
        given = repr(action) if isinstance(action, str) else found.__name__
        raise ConfigurationError(f"action={given}: give an object, {found.__name__}().")
    if found in ("warn", "stop") or isinstance(found, Action) or callable(found):
        return found
    raise ConfigurationError(
        f"action={action!r}: choose 'warn' or 'stop', or give a function of (trainer, pl_module, verdict) or its path, "
        "an action such as mviz_lightning.actions.ModalityDropout(), or a list of them."
    )
