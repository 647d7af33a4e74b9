"""Get the record of a step: watch the user's own call of it, or replay it muted."""

from contextlib import suppress
from typing import Any

from torch import nn

from mviz_lightning.batch import BatchSchema
from mviz_lightning.engine.evaluator import ContextFactory
from mviz_lightning.engine.muted_step import call_step, muted
from mviz_lightning.observation.recorder import StepRecorder
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.ways import StepFunction


class StepObserver:
    """Watches the next call of a module's step, once, and leaves nothing on the module.

    Attributes:
        record: What the call showed; None before it, and if it gave no scores away.
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
            schema: Where the modalities live in it.
        """
        self.release()
        original = getattr(module, step)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.release()
            recorder = StepRecorder(module, batch, schema)
            with recorder.watching():
                outputs = original(*args, **kwargs)
            self.record = recorder.record if recorder.record.events else None
            return outputs

        self._shadowed = (module, step, vars(module).get(step))
        vars(module)[step] = watched

    def release(self) -> None:
        """Put back the step that is watched."""
        shadowed, self._shadowed = self._shadowed, None
        if shadowed is not None:
            module, step, before = shadowed
            vars(module).pop(step, None)
            if before is not None:
                vars(module)[step] = before


def replayed_record(
    module: nn.Module, step: StepFunction, batch: Any, schema: BatchSchema, precision: ContextFactory
) -> StepRecord | None:
    """Replay a step on a batch, muted, and return what it showed; None if it fails or gives no scores away.

    Args:
        module: The user's model.
        step: The step.
        batch: A few examples, which the step may change.
        schema: Where the modalities live in the batch.
        precision: Makes the context in which the trainer calls the model.
    """
    recorder = StepRecorder(module, batch, schema)
    with suppress(Exception), muted(module), precision(), recorder.watching():
        call_step(module, step, batch)
    return recorder.record if recorder.record.events else None
