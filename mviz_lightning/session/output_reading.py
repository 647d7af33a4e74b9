"""How a model's outputs are read: as logits, as probabilities, or as values; settled at the first run."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.decomposed_calls import with_decomposed
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.probability_outputs import Last, Reading, decomposed, head_in, head_of, last_operation
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import (
    NEVER,
    NOTEWORTHY,
    Head,
    levelled,
    noise_floor,
    reaches_bounds,
    saturated,
    within_bounds,
)
from mviz_lightning.session.label_reading import LabelReader, ReadLabels
from mviz_lightning.session.remarks import Remarks

NOTICED = 0.01
"""Smallest share of probabilities at 0 or 1 that is reported, since their logits are cut off."""

NAMED = 6
"""Largest number of masked classes that a note names."""

MADE: dict[Head, str] = {
    "softmax": "each row sums to 1",
    "sigmoid": "each output lies between 0 and 1",
}


@dataclass
class OutputReading:
    """Turns probabilities back into logits, on all processes alike, and reports unusual outputs.

    Attributes:
        labels: Reads the labels.
        remarks: Takes lines for the log and notes for the history.
        last: How the model's forward ends if it returns probabilities: the result of :func:`last_operation`.
        reading: How probabilities are read; None if the model returns logits or values.
        made_by: The operation that makes the probabilities that the model returns, as the user's own step showed it.
        left_out: ``(C,)`` bool: the classes that some row masks, which count in no share; None if no row masks any.
    """

    labels: LabelReader = field(default_factory=LabelReader)
    remarks: Remarks = field(default_factory=Remarks)
    last: Last | None = None
    reading: Reading | None = None
    made_by: Head | None = None
    left_out: Tensor | None = None
    _settled: bool = False
    _observed: bool = False

    def expect(self, task: Task | None, class_names: Sequence[str] | None, *, scored: bool) -> None:
        """Take the user's arguments about the outputs, once it is known which head they belong to."""
        self.labels = replace(self.labels, given=task, class_names=class_names, scored=scored)

    def take(self, task: Task | None, made_by: Head | None, line: str, score: str = "") -> None:
        """Take what the user's own step showed about its outputs; arguments of the user take precedence.

        Args:
            task: Type of the prediction task; None if the step does not show it.
            made_by: The operation that makes the scores if they are probabilities.
            line: The line of the log about this.
            score: Name of the step's own metric that is the score; ``""`` if none is.
        """
        given, scored = self.labels.given or task, self.labels.scored or bool(score)
        self._observed, self.made_by = True, made_by
        self.labels = replace(self.labels, given=given, scored=scored)
        self.remarks.say(line, noted=False)
        if score:
            self.remarks.say(f"score: {score}, which your own step updates; score= sets another", noted=False)

    def ignore(self, target: int) -> None:
        """Read this target value as no label, in addition to -100 and NaN."""
        self.labels = replace(self.labels, ignored=target)

    def take_positions(self, task: Task | None, line: str) -> None:
        """Take the task of outputs at positions; ``line`` is the line of the log about it."""
        self.labels = replace(self.labels, given=task)
        self.remarks.say(line, noted=False)

    def try_on(self, evaluator: Evaluator, trial: Probe, outputs: int) -> None:
        """Check that the outputs of a few examples can be read.

        Args:
            evaluator: Evaluates the model.
            trial: A few examples.
            outputs: Number of outputs of one example, C.

        Raises:
            ConfigurationError: The task cannot be guessed, or the labels do not fit it.
        """
        self.labels.read(trial, outputs, everything=False)
        self.last = last_operation(evaluator, trial) or self.made_by

    def read_labels(self, probe: Probe, outputs: int) -> ReadLabels:
        """Return all labels and the task; the log shows how the labels were read.

        Raises:
            ConfigurationError: The task cannot be guessed, or the labels do not fit it.
        """
        found = self.labels.read(probe, outputs)
        for line in found.said:
            self.remarks.say(line, noted=False)
        return found

    def settle(self, outputs: Tensor, task: Task, evaluator: Evaluator, ranks: Ranks) -> tuple[Tensor, Evaluator]:
        """Find out, at the first run, whether the model returns probabilities; all processes get the same.

        Args:
            outputs: ``(R, C)`` outputs of the run, all finite; masked ones are ``NEVER``.
            task: Type of the prediction task.
            evaluator: The evaluator that gave them.
            ranks: The processes that share the rows.

        Returns:
            The quantity to decompose, and the evaluator that returns it from now on.
        """
        if not self._settled:
            readings = ranks.gather(head_of(outputs, task, self.last, untold=not self._observed))
            self.reading = readings[0] if len(set(readings)) == 1 else None
            self._settled, evaluator = True, with_decomposed(evaluator, task, self.reading, outputs.shape[1])
            outputs = outputs if self.reading is None else levelled(decomposed(outputs, task, self.reading), task)
        self._say_of_bounds(outputs, task)
        return outputs, evaluator

    @property
    def head(self) -> Head | None:
        """The operation that turned logits into probabilities; None if the outputs are not probabilities."""
        return head_in(self.reading)

    def leave_out(self, outputs: Tensor, task: Task, ranks: Ranks) -> None:
        """Leave the classes that some row masks out of the shares, and name them; all processes leave out the same.

        Args:
            outputs: ``(R, C)`` outputs as :meth:`settle` returns them.
            task: Type of the prediction task.
            ranks: The processes that share the rows.

        Raises:
            RuntimeError: Too few classes are left to compare; on all processes alike.
        """
        masked = (outputs == NEVER) & (task != "regression" and outputs.shape[1] > 1)
        found = ranks.gather(torch.stack([masked.any(0), masked.all(0)]).cpu())
        some, everywhere = torch.stack(found).any(0)[0], torch.stack(found).all(0)[1]
        self._require_common(some, everywhere, task)
        self.left_out = some if bool(some.any()) else None
        self._say_masked(everywhere, "all")
        self._say_masked(some & ~everywhere, "some")
        cut = 0.0 if self.head is None else saturated(outputs[:, ~some.to(outputs.device)], self.head)
        if cut > NOTICED:
            self.remarks.note(
                f"{cut:.0%} of the probabilities are exactly 0 or 1, so their logits are cut off: the shares may show "
                "interactions that the model does not have"
            )

    def _require_common(self, some: Tensor, everywhere: Tensor, task: Task) -> None:
        """Raise a RuntimeError if the rows have too few classes in common: a single one has no centred logit."""
        least = 2 if task == "multiclass" else 1
        if bool((some & ~everywhere).any()) and int((~some).sum()) < least:
            raise RuntimeError(
                f"{int(some.sum())} of {len(some)} classes are masked in some rows ({self._named(some)}), and shares "
                f"need {least} or more that no row masks. Return unmasked logits from forward, or from the function "
                "given as predict=."
            )

    def _say_of_bounds(self, outputs: Tensor, task: Task) -> None:
        if self.reading == "mixture":
            self.remarks.say(
                "the model averages probabilities, so there are no logits of its outputs: the shares are those of the "
                "probabilities themselves, in which an average of unimodal probabilities has no interaction. Pictures "
                "and metrics get the softmax or sigmoid of these outputs as probabilities"
            )
        elif self.reading == "sparse":
            self.remarks.say(
                "the model returns probabilities that are exactly 0 or 1 but never close to it (sparsemax, a hard "
                "sigmoid, argmax, rounding), so there are no logits: the shares are those of the probabilities "
                "themselves, and cut values count as interaction. For exact shares return the output of the last "
                "layer, from forward or predict="
            )
        elif task == "regression" and self.last is not None and within_bounds(outputs):
            self.remarks.say(
                "task='regression': the outputs lie between 0 and 1 and are decomposed as values. If they are "
                "probabilities, set task='binary', 'multilabel' or 'multiclass'",
                noted=False,
            )
        elif self.head is not None:
            self.remarks.say(
                f"the model returns probabilities ({MADE[self.head]}). Probabilities show interactions that the model "
                "does not have, so the shares are computed on their logits. For exact shares return the logits "
                "themselves, from forward or from the function given as predict="
            )
        elif task != "regression" and within_bounds(outputs) and reaches_bounds(outputs):
            self.remarks.say(
                "all outputs lie between 0 and 1 and are read as logits. If they are probabilities, return the output "
                "of the last layer instead, from forward or predict="
            )

    def _say_masked(self, classes: Tensor, rows: str) -> None:
        if bool(classes.any()):
            self.remarks.say(f"masked in {rows} rows and left out of the shares: {self._named(classes)}")

    def _named(self, chosen: Tensor) -> str:
        names, classes = self.labels.class_names or (), chosen.nonzero().flatten().tolist()
        named = [names[index] if index < len(names) else f"class {index}" for index in classes[:NAMED]]
        more = len(classes) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def floor(self, outputs: Tensor, modalities: int) -> float:
        """Return the noise floor: the share of variance below which a share may be rounding. A large one is noted."""
        kept = outputs if self.left_out is None else outputs[:, ~self.left_out.to(outputs.device)]
        found = noise_floor(kept, modalities, self.head)
        if found > NOTEWORTHY:
            self.remarks.note(f"shares below {found:.1g} may be rounding")
        return found
