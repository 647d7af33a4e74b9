"""The user's own step and what one call of it showed: watched as it ran, or in a muted replay."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.muted_step import call_step, muted
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import describe_error
from mviz_lightning.observation.recorder import StepRecorder
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.ways import StepFunction


@dataclass(frozen=True)
class ObservedStep:
    """A step and what one call of it showed.

    Attributes:
        step: The step: the name of a method, or a function ``(module, batch) -> anything``.
        watched: What it showed; None if no call of it ended.
        failure: Why it showed nothing; ``""`` where nothing failed.
    """

    step: StepFunction
    watched: StepRecord | None
    failure: str = ""

    @property
    def record(self) -> StepRecord | None:
        """What the step showed; None if it used no scores."""
        return self.watched if self.watched is not None and self.watched.events else None

    @property
    def callable(self) -> frozenset[str] | None:
        """Names of the submodules that may replace the model: those that return everything that the step computes last.

        If nothing that the step computes depends on all modalities, they are the submodules that it calls. None if it
        calls none, or did not reach its end.
        """
        if self.watched is None or not self.watched.ended or not self.watched.called:
            return None
        last = self.watched.last
        returning = [{call.name for call, _ in node.results if call.name is not None} for node in last]
        return frozenset(set[str].intersection(*returning) if last else self.watched.called)

    @classmethod
    def recorded(cls, step: StepFunction, record: StepRecord) -> "ObservedStep":
        """Return a step with the record of one call."""
        return cls(step, record, record.failure)

    @classmethod
    def replayed(cls, module: nn.Module, step: StepFunction, trial: Probe, precision: ContextFactory) -> "ObservedStep":
        """Replay a step on some examples, muted; a step that fails shows nothing.

        Args:
            module: The user's model.
            step: The step.
            trial: The examples.
            precision: Makes the context in which the trainer calls the model.
        """
        rows = Query.aligned(torch.arange(trial.size), len(trial.schema.names)).sources
        recorder, failure = None, ""
        try:
            batch = trial.batch(rows, {}, device_of(module))
            recorder = StepRecorder(module, batch, trial.schema)
            with muted(module), precision(), recorder.watching():
                call_step(module, step, batch)
        except Exception as error:
            failure = describe_error(error)
        found = cls(step, None) if recorder is None else cls.recorded(step, recorder.record)
        return found if found.record is not None or found.failure else replace(found, failure=failure)


class StepObserver:
    """Watches the next call of a module's step, once, and leaves nothing on the module.

    Attributes:
        record: What the call showed; None before it.
    """

    def __init__(self) -> None:
        self.record: StepRecord | None = None
        self._shadowed: tuple[nn.Module, str, Any] | None = None

    def watch(self, module: nn.Module, step: str, batch: Any, schema: BatchSchema) -> None:
        """Watch the next call of a step.

        Args:
            module: The user's model.
            step: Name of the step.
            batch: The batch that the step will be given.
            schema: Where the modalities are in it.
        """
        self.release()
        if any(map(is_lazy, module.parameters())):
            return  # the first forward creates lazy parameters
        original, recorder = getattr(module, step), StepRecorder(module, batch, schema)

        @wraps(original)  # the trainer reads the signature
        def watched(*args: Any, **kwargs: Any) -> Any:
            with suppress(Exception):  # otherwise it is put back after the batch
                self.release()
            self.record = recorder.record
            with ExitStack() as stack:
                with suppress(Exception):
                    stack.enter_context(recorder.watching())
                outputs = original(*args, **kwargs)
                with suppress(Exception):
                    stack.close()
                return outputs

        self._shadowed = (module, step, vars(module).get(step))
        vars(module)[step] = watched

    def seen(self, module: nn.Module, step: StepFunction, trial: Probe, precision: ContextFactory) -> ObservedStep:
        """Return the step with the record of its watched call, once; without a record, replay it on some examples.

        Args:
            module: The user's model.
            step: The step.
            trial: The examples.
            precision: Makes the context in which the trainer calls the model.
        """
        record = self.pop_record()
        if record is None or not (record.events or record.failure):  # a step may return at once in the sanity check
            return ObservedStep.replayed(module, step, trial, precision)
        return ObservedStep.recorded(step, record)

    def give_back(self, seen: ObservedStep | None) -> None:
        """Take back a step that :meth:`seen` returned and that was not used."""
        self.record = None if seen is None else seen.watched

    def pop_record(self) -> StepRecord | None:
        """Return what the call showed, and forget it; None if no call was watched."""
        record, self.record = self.record, None
        return record

    def release(self) -> None:
        """Put back the step that is watched."""
        shadowed, self._shadowed = self._shadowed, None
        if shadowed is not None:
            module, step, before = shadowed
            vars(module).pop(step, None)
            if before is not None:
                vars(module)[step] = before
