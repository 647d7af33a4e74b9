"""Classes, values and units in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mviz_lightning.functional import Task
from mviz_lightning.functional.numerals import DIGITS, is_rounding, side_by_side
from mviz_lightning.functional.uc_and_mi import INTERVAL
from mviz_lightning.plotting.text_fitting import shortened
from mviz_lightning.sinks.records import PredictionRecord

LETTERS = 76
"""Largest number of letters of a line across a picture, at 8 points."""

SHORTEST = 6
"""Fewest letters to which the name of an output is cut; where there are fewer, it is left out."""


@dataclass(frozen=True)
class Labels:
    """How classes and values are called.

    Attributes:
        task: What the outputs stand for.
        class_names: Of the outputs; of both classes where one logit tells them apart.
        head: The head whose outputs they are; ``""`` for a model with one head.
        single: Whether there is one output; of a value without a name, this is then called by its head.
        region: Example -> the region of its outputs that is explained, in words; None where it has one row of them.
    """

    task: Task
    class_names: Sequence[str] | None = None
    head: str = ""
    single: bool = False
    region: Callable[[int], str] | None = field(default=None, compare=False)

    def moment(self, when: str) -> str:
        """Name the head and the moment, as far as there is one: ``head noun, epoch 3 (step 120)``."""
        return ", ".join(filter(None, [f"head {self.head}" if self.head else "", when]))

    def example(self, position: int) -> str:
        """Name an example, and the head that it is explained for."""
        return f"Example {position}, head {self.head}," if self.head else f"Example {position}"

    def outcome(self, value: Any) -> str:
        """Name a class, a list of labels or a value."""
        if value is None:
            return "unknown"
        if isinstance(value, list):
            return ", ".join(map(self.outcome, value)) or "none"
        return f"{value:.4g}" if self.task == "regression" else self._class(int(value))

    def output(self, index: int) -> str:
        """Name an output."""
        if self.task == "binary":
            return f"logit of {self._class(1)}"
        names = self.class_names or ()
        if index < len(names):
            return names[index]
        if self.task != "regression":
            return self._class(index)
        return (self.head or "output") if self.single else f"output {index}"

    def _class(self, index: int) -> str:
        names = self.class_names or ()
        if self.task == "binary" and len(names) == 1:
            return names[0] if index else f"not {names[0]}"
        return names[index] if index < len(names) else f"class {index}"

    def headline(self, record: PredictionRecord) -> str:
        """Name the prediction and the target."""
        probability = "" if record.probability is None else f" ({record.probability:.2f})"
        predicted = f"{self._predicted} {self.outcome(record.predicted)}{probability}"
        if record.target is None:
            return predicted
        return f"{predicted}, target {self.outcome(record.target)}{self._verdict(record)}"

    @property
    def _predicted(self) -> str:
        """What a prediction is called: a value that has a name by this name."""
        names = self.class_names or ()
        if self.task != "regression" or len(names) > 1:
            return "predicted"
        return names[0] if names else (self.head if self.single else "") or "predicted"

    def title(self, record: PredictionRecord, when: str) -> str:
        """Name an example, the moment if there is one, and the prediction."""
        moment = f", {when}" if when else ""
        return f"Example {record.position}{moment}{self.where(record.example)}: {self.headline(record)}"

    def where(self, example: int) -> str:
        """Name, behind other words, the region of an example that is explained; ``""`` where there is none."""
        return "".join(f", {words}" for words in self.region_cell(example))

    @property
    def region_column(self) -> list[str]:
        """Name of the column of tables that says which region is explained; none where there is none."""
        return [] if self.region is None else ["region"]

    def region_cell(self, example: int) -> list[str]:
        """Return the entry of :attr:`region_column`."""
        return [] if self.region is None else [self.region(example)]

    def averaged(self, what: str) -> str:
        """Say, for the foot of a picture, what is averaged over regions; ``""`` where there are none."""
        return "" if self.region is None else f" {what} are means over a region of each example."

    def _verdict(self, record: PredictionRecord) -> str:
        if self.task == "regression":
            return ""
        return " - right" if record.predicted == record.target else " - wrong"

    def decomposition(
        self, index: int, role: str, unimodal: float, interaction: float, value: float, error: float | None = None
    ) -> str:
        """Write an output as the sum of its unimodal contribution (UC) and its interaction (MI), in one line.

        Args:
            index: Index of the output.
            role: Why it is explained.
            unimodal: UC.
            interaction: MI.
            value: Their sum.
            error: Standard error of UC and MI; None where it is not known.
        """
        # What is split is what softmax does not ignore: the logit less the mean over the classes.
        centred = "centred " if self.task == "multiclass" else ""
        return self._line(index, role, self.split(unimodal, interaction, value, error), centred)

    def split(
        self, unimodal: float, interaction: float, value: float, error: float | None = None, digits: int = DIGITS
    ) -> str:
        """Write a value as the sum of UC and MI; the interval is left out where MI is nothing but rounding."""
        silent = is_rounding(interaction, value) and is_rounding(error or 0.0, value)
        terms = [value, unimodal, abs(interaction), *([] if error is None or silent else [INTERVAL * error])]
        whole, alone, together, *bound = self.numbers(terms, digits)
        sign = "-" if interaction < 0 and together != "0" else "+"
        return f"{whole} = UC {alone} {sign} MI {together}" + "".join(f" (±{one})" for one in bound)

    def valued(self, index: int, role: str, value: float) -> str:
        """Name an output, why it is explained, and its value, in one line: the name gives way to the numbers."""
        return self._line(index, role, self.numbers([value])[0])

    def numbers(self, values: Sequence[float], digits: int = DIGITS) -> list[str]:
        """Write logits, or values of any unit, that are read together."""
        return side_by_side(values, None if self.task == "regression" else 2, digits)

    def _line(self, index: int, role: str, numbers: str, centred: str = "") -> str:
        why = "" if role == "output" else f" ({role})"
        return named(self.output(index), f"{why}: {'' if self.task == 'regression' else f'{centred}logit '}{numbers}")


def named(name: str, after: str, letters: int = LETTERS) -> str:
    """Return a name and, after it, ``": numbers"`` in a line: the name is cut, and left out where little remains."""
    room = letters - len(after)
    if room >= min(SHORTEST, len(name)):
        return shortened(name, room) + after
    return after.removeprefix(": ").lstrip().removeprefix("(").replace("):", ":", 1)


def strongest_places(weights: Tensor, count: int) -> list[int]:
    """Return the places of up to ``count`` of ``(U,)`` weights, the strongest first; rounding is left out."""
    strength = weights.abs()
    order: list[int] = strength.argsort(descending=True, stable=True)[:count].tolist()
    return [place for place in order if not is_rounding(float(strength[place]), float(strength[order[0]]))]


def format_weight(value: float) -> str:
    """Write a weight: two decimals, two digits of small ones, one of tiny ones."""
    if abs(value) >= 0.1 or value == 0:
        return f"{value:+.2f}"
    return f"{value:+#.2g}" if abs(value) >= 0.001 else f"{value:+.0e}".replace("e-0", "e-")
