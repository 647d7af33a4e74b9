"""How a model's outputs are read: settled at the first run, and said once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.probe import known_target
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.probability_outputs import head_of, last_operation, with_logits
from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import (
    NOTEWORTHY,
    Head,
    logits_of,
    masked_classes,
    noise_floor,
    saturated,
    within_bounds,
)
from mviz_lightning.session.task import resolve_task, told

NOTICED = 0.01
"""Share of logits that were cut off from which on that is worth a word."""

NAMED = 6
"""Masked classes that are named at the most."""

MADE: dict[Head, str] = {
    "softmax": "rows that sum to 1",
    "sigmoid": "each by itself between 0 and 1",
}


@dataclass
class OutputReading:
    """Turns probabilities back into logits, on all processes alike, and says what of the outputs is unusual.

    Attributes:
        given: The task, where the user said it.
        class_names: Of the outputs.
        last: The last operation of the model's forward, where that makes probabilities.
        head: What made probabilities of logits; None where the model returns logits or values.
        notes: What the next row of the history has to mention.
    """

    given: Task | None = None
    class_names: Sequence[str] | None = None
    last: Head | None = None
    head: Head | None = None
    notes: list[str] = field(default_factory=list)
    _settled: bool = False
    _said: set[str] = field(default_factory=set)

    def try_on(self, evaluator: Evaluator, few: Probe, outputs: int) -> None:
        """Try whether a few examples and their outputs, of which there are so many, can be read.

        Raises:
            ConfigurationError: The task cannot be guessed, or the labels do not fit it.
        """
        resolve_task(self.given, outputs, known_target(few))
        self.last = last_operation(evaluator, few)

    def task_of(self, probe: Probe, outputs: int) -> Task:
        """Return what the outputs stand for, by all labels; say it where it was guessed.

        Raises:
            ConfigurationError: It cannot be guessed, or the labels do not fit it.
        """
        target = known_target(probe)
        task = resolve_task(self.given, outputs, target)
        if self.given is None:
            self.say(told(task, outputs, target), noted=False)
        return task

    def settle(self, outputs: Tensor, task: Task, evaluator: Evaluator, ranks: Ranks) -> tuple[Tensor, Evaluator]:
        """Tell, at the first run, whether the model returns probabilities; all ranks get the same.

        Args:
            outputs: ``(R, C)`` of the run, all finite.
            task: What they stand for.
            evaluator: That gave them.
            ranks: The processes that share the rows.

        Returns:
            The logits, and the evaluator that answers with such from now on.
        """
        if not self._settled:
            heads = ranks.gather(head_of(outputs, task, self.last))
            self.head = heads[0] if len(set(heads)) == 1 else None
            self._settled, evaluator = True, with_logits(evaluator, self.head)
            self._say_of_bounds(outputs, task)
            outputs = outputs if self.head is None else logits_of(outputs, self.head)
        self._say_of_classes(outputs, task)
        return outputs, evaluator

    def _say_of_bounds(self, outputs: Tensor, task: Task) -> None:
        if self.head is not None:
            self.say(
                f"the model returns probabilities ({MADE[self.head]}), which feign interactions, so that the logits "
                "behind them are looked at. To be exact, return what the last layer gives, from forward or predict="
            )
        elif task != "regression" and within_bounds(outputs):
            self.say(
                "all outputs lie between 0 and 1 and are read as logits. If they are probabilities, return what the "
                "last layer gives instead, from forward or predict="
            )

    def _say_of_classes(self, outputs: Tensor, task: Task) -> None:
        never = masked_classes(outputs, task)
        if bool(never.any()):
            self.say(f"masked in all rows and left out of the shares: {self._named(never)}")
        cut = 0.0 if self.head is None else saturated(outputs[:, ~never], self.head)
        if cut > NOTICED:
            self.notes.append(f"{cut:.0%} of the probabilities are 0 or 1 to the last digit, their logits cut off")

    def _named(self, chosen: Tensor) -> str:
        names, classes = self.class_names or (), chosen.nonzero().flatten().tolist()
        named = [names[index] if index < len(names) else f"class {index}" for index in classes[:NAMED]]
        more = len(classes) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def floor(self, outputs: Tensor, task: Task, modalities: int) -> float:
        """Return the share of variance that rounding can feign, and note it where it is large."""
        found = noise_floor(outputs[:, ~masked_classes(outputs, task)], modalities, self.head)
        self.notes += [f"shares below {found:.1g} may be rounding"] if found > NOTEWORTHY else []
        return found

    def say(self, words: str, *, noted: bool = True) -> None:
        """Write a line into the log, and a note into the history, once.

        Args:
            words: What there is to say.
            noted: Whether a reader of the history has to know.
        """
        if words in self._said:
            return
        self._said.add(words)
        self.notes += [words] if noted else []
        rank_zero_info(f"MultimodalMonitor: {words}")
