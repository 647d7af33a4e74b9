"""Check whether the loss of the user's own step is that of the answers that are read."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.answered import AnsweredTexts
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.observation.answering_call import ReadCall

SAME = 0.01
"""Largest difference of the two losses, as a fraction of the step's loss, that 16-bit rounding can explain."""

OTHER_LOSS = (
    "the loss of your step is {loss:.3f} nats per token over {count} examples; the answers that the monitor reads have "
    "{own:.3f}: {why}"
)
FURTHER = "it includes {further} labelled tokens after the first answers, which are not scored"
WEIGHTED = "it is not the mean over the labelled tokens (weights, label smoothing, or a further loss)"


@dataclass(frozen=True)
class LossCall(ReadCall):
    """A call of a language model that also returns a loss."""

    def reading_of(self, batch: Any, examples: Probe, rows: Tensor) -> Callable[[Any], Tensor | None]:
        """Return a function that reads ``(R, 2)``: each own answer's likelihood, and the batch's loss in each row."""
        read = super().reading_of(batch, examples, rows)

        def read_both(returned: Any) -> Tensor | None:
            own, loss = read(returned), getattr(returned, "loss", None)
            return None if own is None or loss is None else torch.cat([own, loss.expand_as(own)], 1)

        return read_both


def doubt_of_loss(call: LossCall, texts: AnsweredTexts, evaluator: Evaluator) -> str:
    """Return a text about the difference between the step's loss and the loss of the answers; ``""`` if none is known.

    Args:
        call: The call of the language model in the step.
        texts: A few examples; all of them are replayed.
        evaluator: Calls the model.
    """
    found = None
    with suppress(Exception):  # a step that cannot be replayed shows nothing
        found = call.replayed(evaluator.module, texts.probe, evaluator.precision)
    if found is None:
        return ""
    lengths = (texts.spans[:, 1] - texts.spans[:, 0]).double()
    own, loss = -float((found[:, 0].cpu().double() * lengths).sum() / lengths.sum()), float(found[0, 1])
    if abs(loss - own) <= SAME * abs(loss):
        return ""
    further = texts.labelled - int(lengths.sum())
    why = FURTHER.format(further=further) if further > 0 else WEIGHTED
    return OTHER_LOSS.format(loss=loss, own=own, count=texts.probe.size, why=why)
