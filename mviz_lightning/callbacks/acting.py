"""The actions of an alarm in one fit: they begin with an alarm, and are undone when it ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from torch.optim import Optimizer

from mviz_lightning.actions.base import Action, Alarms, overrides
from mviz_lightning.actions.hooks import changed_batches, in_every_step
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.errors import ConfigurationError, describe_error, message_of

T = TypeVar("T")


class Acting:
    """Calls the actions of one alarm. An action with an error is switched off, with a warning; the others continue.

    Args:
        actions: The actions.
        error_policy: Gives the warnings.

    Attributes:
        alarms: The present alarms; None while no modality is collapsed.
    """

    def __init__(self, actions: Sequence[Action], error_policy: ErrorPolicy) -> None:
        self.alarms: Alarms | None = None
        self._actions, self._failed, self._error_policy = list(actions), list[Action](), error_policy
        self._alarm, self._batch, self._due = ExitStack(), ExitStack(), False
        self._step_guard = partial(error_policy.guard, failed="the actions could not change a step")

    def require(self, alarms: Alarms) -> None:
        """Check the actions' arguments before the training begins.

        Raises:
            ConfigurationError: An argument does not fit modalities or model.
        """
        for action in self._actions:
            action.require(alarms)

    def stand(self, alarms: Alarms, *, checked: bool) -> None:
        """Act on these alarms from now on, and undo the actions of the previous ones.

        Args:
            alarms: The present alarms; its ``silent`` may be empty.
            checked: Whether a check has just found them. False if a resumed training continues with them.
        """
        self.leave()
        if not alarms.silent:
            return
        self.alarms, self._due = alarms, checked
        for action in self._working:
            self._enter(self._alarm, action, partial(action.during, alarms))
        self._watch_steps(alarms)

    def _watch_steps(self, alarms: Alarms) -> None:
        """Wrap the steps of the optimizers, if an action changes steps."""
        stepping = [action for action in self._working if overrides(action, "during_step")]
        for optimizer in alarms.trainer.optimizers if stepping else ():
            try:
                enter = partial(self._enter_step, optimizer, alarms)
                self._alarm.enter_context(in_every_step(optimizer, enter, self._step_guard))
            except ConfigurationError as error:
                for action in stepping:
                    self._fail(action, error)

    @property
    def _working(self) -> list[Action]:
        return [action for action in self._actions if action not in self._failed]

    def after_validation(self) -> None:
        """Act after a validation whose check found a modality collapsed."""
        due, self._due = self._due, False
        if self.alarms is not None and due:
            for action in self._working:
                self._try(action, partial(action.after_check, self.alarms))

    def begin_batch(self, number: int) -> None:
        """Pass a changed batch to the training step, if an action changes batches."""
        self._batch.close()
        changing = [action for action in self._working if overrides(action, "change_batch")]
        if self.alarms is not None and changing:
            change = partial(self._changed, changing, self.alarms, number)
            self._batch.enter_context(changed_batches(self.alarms.module, change, self._step_guard))

    def _changed(self, changing: Sequence[Action], alarms: Alarms, number: int, batch: Any) -> Any:
        for action in changing:
            batch = self._try(action, partial(action.change_batch, batch, alarms, number), batch)
        return batch

    def end_batch(self) -> None:
        """Restore the model after a batch, and undo the actions that failed."""
        self._batch.close()
        if self._failed and self.alarms is not None:
            self._actions, self._failed = self._working, []
            self.stand(self.alarms, checked=self._due)

    def _enter_step(self, optimizer: Optimizer, alarms: Alarms, step: ExitStack) -> None:
        """Enter the actions' contexts of one step, inside the user's own."""
        number = alarms.trainer.global_step
        for action in self._working:
            self._enter(step, action, partial(action.during_step, optimizer, alarms, number))

    def _enter(self, stack: ExitStack, action: Action, make: Callable[[], AbstractContextManager[Any]]) -> None:
        """Enter a context of an action; an error at its beginning or end switches the action off."""
        self._try(action, lambda: stack.enter_context(_undone_safely(make(), partial(self._fail, action))))

    def leave(self) -> None:
        """Undo all actions; after an error in one part, the other parts are still undone."""
        self.alarms, self._due = None, False
        try:
            self._batch.close()
        finally:
            self._alarm.close()

    def _try(self, action: Action, call: Callable[[], T], otherwise: T | None = None) -> T | None:
        """Call a part of an action; if it fails, the action is switched off."""
        try:
            return call()
        except Exception as error:
            self._fail(action, error)
            return otherwise

    def _fail(self, action: Action, error: Exception) -> None:
        self._failed.append(action)
        said = message_of(error) if isinstance(error, ConfigurationError) else describe_error(error)
        self._error_policy.warn(f"{type(action).__name__} is off from now on, and the training goes on. {said}")


@contextmanager
def _undone_safely(context: AbstractContextManager[T], warn: Callable[[Exception], None]) -> Iterator[None]:
    """Enter a context; an error at its end becomes a warning."""
    with ExitStack() as stack:
        stack.enter_context(context)
        leave = stack.pop_all().close
    try:
        yield
    finally:
        try:
            leave()
        except Exception as error:
            warn(error)
