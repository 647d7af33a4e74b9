"""Try calls of the user's model on a few examples."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.devices import is_sharded
from mviz_lightning.engine.dual_encoders import features_message
from mviz_lightning.engine.index_bounds import IndexBounds
from mviz_lightning.engine.isolation import random_states
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.model_outputs import ModelOutputs, locate_scores, scores, unreadable
from mviz_lightning.engine.output_names import is_floating
from mviz_lightning.engine.positions import NO_LABELS, LabelShapes, PositionAxes
from mviz_lightning.engine.trial_swaps import differ, with_swapped
from mviz_lightning.errors import ConfigurationError, describe_error


@dataclass(frozen=True)
class FailedCall:
    """A call that returned no scores.

    Attributes:
        call: The call.
        reason: The error that it raised, or why its result holds no scores.
        outputs: What it returned; None if it raised.
        unwritten: Whether it raised because ``forward`` is not written.
    """

    call: ModelCall
    reason: str
    outputs: Any = None
    unwritten: bool = False

    @property
    def called_forward(self) -> bool:
        """Whether ``forward`` was called without the user's ``predict`` around it, or is not written."""
        return self.call.arguments is not None or self.unwritten

    def __str__(self) -> str:
        return f"{self.call.description}: {self.reason.partition(chr(10))[0][:300]}"


@dataclass(frozen=True)
class CallTrial:
    """A model and a few examples on which its calls are tried.

    Attributes:
        module: The model.
        schema: Where the modalities are in the batch.
        batch: A few examples.
        labels: Shapes of labels, images and masks; they decide whether outputs have positions.
    """

    module: nn.Module
    schema: BatchSchema
    batch: Any
    labels: LabelShapes = NO_LABELS

    def attempt(self, call: ModelCall) -> ModelCall | FailedCall:
        """Return the call with what the model returned, or why it gives no scores."""
        try:
            with IndexBounds():
                outputs = call.predict(self.module, with_swapped(self.schema, self.batch, []))
            axes = self._axes(outputs)
            reason = "" if axes is not None else unreadable(outputs)
            if reason:
                return FailedCall(call, reason, outputs)
            return replace(call, outputs=ModelOutputs.of(outputs), axes=axes)
        except Exception as error:  # a wrong call may raise anything
            if ran_out(error) or isinstance(error, ConfigurationError):
                raise
            return FailedCall(call, describe_error(error), unwritten=isinstance(error, NotImplementedError))

    def _axes(self, outputs: Any) -> PositionAxes | None:
        """Return the axes of the outputs' positions, each with its own label; None where an example has one row."""
        found = locate_scores(outputs)[1]
        return self.labels.axes(tuple(found.shape)) if is_floating(found) else None

    def works(self, call: ModelCall) -> ModelCall | None:
        """Return the call with what the model returned; None if it gives no scores, or scores that read the labels."""
        found = self.attempt(call)
        return found if isinstance(found, ModelCall) and not self.reads_labels(found) else None

    def reads_labels(self, call: ModelCall) -> bool:
        """Return whether a call that works passes the user's labels, and its scores change with them."""
        labels = self.schema.labels
        if not call.passes_any(self.schema, labels) or is_sharded(self.module):
            return False
        with suppress(Exception):
            own, other = (scores(self._with_swapped(call, paths)) for paths in ([], labels))
            return differ(own, other)
        return False

    def features(self, call: ModelCall, outputs: Any = None) -> str:
        """Return the message about features that a call returned in place of scores; empty if there are none."""
        if is_sharded(self.module):  # all processes must run equally many forwards, whatever their examples
            return ""
        with suppress(Exception):
            returned = self._with_swapped(call, []) if outputs is None else outputs
            return features_message(call, self.schema, returned, partial(self._with_swapped, call))
        return ""

    def _with_swapped(self, call: ModelCall, paths: Sequence[str]) -> Any:
        """Return the model's outputs after every example got some leaves of the example before it."""
        with random_states(), torch.no_grad():  # every call draws the same random numbers
            return call.predict(self.module, with_swapped(self.schema, self.batch, paths))
