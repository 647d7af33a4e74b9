"""The moment of a checkpoint in its training, and how a trainer returns to it."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mviz_lightning.callbacks.lightning_packages import Trainer

LOOP, PROGRESS, STEPPED = "epoch_loop.state_dict", "epoch_progress", "_batches_that_stepped"
"""Keys in Lightning's checkpoints: state of the loop over batches, number of epochs so far, number of steps so far."""


@dataclass(frozen=True)
class Revisited:
    """A moment of a training that is measured again, from its checkpoint.

    Attributes:
        epoch: Epoch of the training.
        step: Step on the x-axis of the loggers, at which a validation of these weights is logged.
        same_data: Whether the validation set is the training's own; the checkpoint may hold examples of it.
    """

    epoch: int
    step: int
    same_data: bool = True

    def __str__(self) -> str:
        return f"epoch {self.epoch} (step {self.step})"

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], *, same_data: bool = True) -> "Revisited":
        """Return the moment of a checkpoint: epoch and step of the validation that measures its weights.

        A checkpoint may be written after or before this validation: Lightning counts the step only after both, and the
        epoch only at its end.

        Args:
            checkpoint: The content of the file.
            same_data: Whether the validation set is that of the training.
        """
        loop = fit_loop_of(checkpoint)
        try:
            epochs, stepped = loop[PROGRESS]["current"], int(loop[LOOP][STEPPED])
            epoch = int(epochs["completed"]) - (epochs["completed"] == epochs["ready"])
            over = epochs["processed"] > epoch
        except (KeyError, TypeError, ValueError):  # weights alone, or another version of Lightning
            epoch, stepped, over = int(checkpoint.get("epoch", 0)), int(checkpoint.get("global_step", 0)), True
        return cls(max(0, epoch), max(0, stepped - over), same_data)


def fit_loop_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the counts of the fit in a checkpoint; an empty mapping if the checkpoint holds only weights."""
    loops = checkpoint.get("loops")
    found = loops.get("fit_loop") if isinstance(loops, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def go_back(trainer: Trainer, moment: Revisited, fit_loop: Mapping[str, Any]) -> None:
    """Give a trainer the counts of a training, so that the model's own step reads its epoch and step.

    Args:
        trainer: A trainer that does not train.
        moment: The moment whose epoch and step it gets.
        fit_loop: The counts of the fit in the checkpoint.
    """
    state = deepcopy(dict(fit_loop) or trainer.fit_loop.state_dict())
    state[PROGRESS]["current"]["completed"], state[LOOP][STEPPED] = moment.epoch, moment.step
    trainer.fit_loop.load_state_dict(state)
