"""Classes, values and units in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mviz_lightning.functional import Task
from mviz_lightning.functional.uc_and_mi import INTERVAL
from mviz_lightning.plotting.text_fitting import shortened
from mviz_lightning.sinks.records import PredictionRecord

LETTERS = 84
"""Of a line across a picture."""


@dataclass(frozen=True)
class Labels:
    """How classes and values are called.

    Attributes:
        task: What the outputs stand for.
        class_names: Of the outputs; of both classes where one logit tells them apart.
        head: The head whose outputs they are; ``""`` for a model with one head.
        region: Example -> the region of its outputs that is explained, in words; None where it has one row of them.
    """

    task: Task
    class_names: Sequence[str] | None = None
    head: str = ""
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
        default = f"output {index}" if self.task == "regression" else self._class(index)
        return names[index] if index < len(names) else default

    def _class(self, index: int) -> str:
        names = self.class_names or ()
        if self.task == "binary" and len(names) == 1:
            return names[0] if index else f"not {names[0]}"
        return names[index] if index < len(names) else f"class {index}"

    def headline(self, record: PredictionRecord) -> str:
        """Name the prediction and the target."""
        probability = "" if record.probability is None else f" ({record.probability:.2f})"
        names = self.class_names or ()
        what = names[0] if self.task == "regression" and len(names) == 1 else "predicted"
        predicted = f"{what} {self.outcome(record.predicted)}{probability}"
        if record.target is None:
            return predicted
        return f"{predicted}, target {self.outcome(record.target)}{self._verdict(record)}"

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
        sign = "+" if interaction >= 0 else "-"
        bound = "" if error is None else f" (±{self._number(INTERVAL * error)})"
        split = f"UC {self._number(unimodal)} {sign} MI {self._number(abs(interaction))}{bound}"
        return self.valued(index, role, value, f" = {split}")

    def valued(self, index: int, role: str, value: float, split: str = "") -> str:
        """Name an output, why it is explained, and its value, in one line: the name gives way to the numbers."""
        why = "" if role == "output" else f" ({role})"
        # What is split is what softmax does not ignore: the logit less the mean over the classes.
        logit = "centred logit" if split and self.task == "multiclass" else "logit"
        after = f"{why}: {'value' if self.task == 'regression' else logit} {self._number(value)}{split}"
        return shortened(self.output(index), LETTERS - len(after)) + after

    def _number(self, value: float) -> str:
        """Write a logit, or a value of any unit."""
        return f"{value:.4g}" if self.task == "regression" else f"{value:.2f}"


def format_weight(value: float) -> str:
    """Write a weight: two decimals, two digits of small ones, one of tiny ones."""
    if abs(value) >= 0.1 or value == 0:
        return f"{value:+.2f}"
    return f"{value:+#.2g}" if abs(value) >= 0.001 else f"{value:+.0e}".replace("e-0", "e-")
