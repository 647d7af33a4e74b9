"""Try calls of the user's model on a few examples."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.dual_encoders import features_message
from mviz_lightning.engine.forward_arguments import label_paths
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.model_outputs import ModelOutputs, scores, unreadable
from mviz_lightning.engine.trial_swaps import differ, outputs_with_swapped
from mviz_lightning.errors import describe_error


@dataclass(frozen=True)
class FailedCall:
    """A call that returned no scores.

    Attributes:
        call: The call.
        reason: What it raised, or why what it returned holds no scores.
        outputs: What it returned; None if it raised.
        unwritten: Whether it raised because ``forward`` is not written.
    """

    call: ModelCall
    reason: str
    outputs: Any = None
    unwritten: bool = False

    @property
    def called_forward(self) -> bool:
        """Whether ``forward`` was called with nothing around it, or was called and is missing."""
        return self.call.arguments is not None or self.unwritten

    def __str__(self) -> str:
        return f"{self.call.description}: {self.reason.partition(chr(10))[0][:300]}"


@dataclass(frozen=True)
class CallTrial:
    """A model and a few examples on which its calls are tried.

    Attributes:
        module: The model.
        schema: Where the modalities live in the batch.
        batch: A few examples.
    """

    module: nn.Module
    schema: BatchSchema
    batch: Any

    def attempt(self, call: ModelCall) -> ModelCall | FailedCall:
        """Return the call with what the model returned, or why it gives no scores."""
        try:
            outputs = call.predict(self.module, self.batch)
            reason = unreadable(outputs)
            return FailedCall(call, reason, outputs) if reason else replace(call, outputs=ModelOutputs.of(outputs))
        except Exception as error:  # a wrong call may raise anything
            if ran_out(error):
                raise
            return FailedCall(call, describe_error(error), unwritten=isinstance(error, NotImplementedError))

    def works(self, call: ModelCall) -> ModelCall | None:
        """Return the call with what the model returned; None if it gives no scores, or scores that know the labels."""
        found = self.attempt(call)
        return found if isinstance(found, ModelCall) and not self.reads_labels(found) else None

    def reads_labels(self, call: ModelCall) -> bool:
        """Tell whether a call that works passes labels, and the scores change with them."""
        labels = label_paths(self.schema)
        if not call.passes_any(self.schema, labels):
            return False
        with suppress(Exception):
            own, other = (
                scores(outputs_with_swapped(call, self.module, self.schema, self.batch, paths))
                for paths in ([], labels)
            )
            return differ(own, other)
        return False

    def features(self, call: ModelCall, outputs: Any = None) -> str:
        """Return the message about features that a call returned in place of scores; empty if it did not."""
        with suppress(Exception):
            if outputs is None:
                outputs = outputs_with_swapped(call, self.module, self.schema, self.batch, [])
            return features_message(call, self.module, self.schema, self.batch, outputs)
        return ""
