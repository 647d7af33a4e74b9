"""Common parts of all methods' cards: examples in words, maps of inputs, and rows of methods without a card."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mviz_lightning.functional.numerals import fixed
from mviz_lightning.functional.uc_and_mi import INTERVAL
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import ALONE, TOGETHER, VALUE, Bar, Bars, FloatArray, SegmentMap
from mviz_lightning.plotting.trust import strength, verdict

if TYPE_CHECKING:
    from mviz_lightning.explainers.found import Result
    from mviz_lightning.plotting.labels import Labels

MOST_EXAMPLES = 8
"""Largest number of examples of one result in a notebook."""


class ExampleDisplay:
    """One example of a result: views of its modalities, and names of their segments.

    Args:
        record: A part of a result with an example.
    """

    def __init__(self, record: Any) -> None:
        self.record, self.labels = record, record._labels
        self.drawing = None if record._origin is None else record._origin.drawing

    @property
    def headline(self) -> str:
        """The example, its prediction and its target in words."""
        return str(self.labels.title(self.record, ""))

    def names(self, modality: str, count: int) -> list[str]:
        """Return the names of the segments of a modality."""
        if self.drawing is None:
            return [f"segment {segment + 1}" for segment in range(count)]
        modality_type = self.drawing.modality_types[modality]
        return list(modality_type.names(self.record.example, inputs=self.drawing.show_inputs))

    def view(self, modality: str) -> Mapping[str, Any]:
        """Return the view of a modality's input; empty if unknown."""
        if self.drawing is None:
            return {}
        modality_type = self.drawing.modality_types[modality]
        seen: Mapping[str, Any] = modality_type.view(self.record.example, inputs=self.drawing.show_inputs)
        return seen

    def map(self, modality: str, title: str, weights: Tensor, limit: float, r2: float | None = None) -> SegmentMap:
        """Return a map of weights; it is faint if its R2 is too low."""
        foot, fade = ("", 1.0) if r2 is None else (verdict(r2)[0], strength(r2))
        names = self.names(modality, len(weights))
        return SegmentMap(modality, title, names, array(weights), limit, self.view(modality), fade, foot)

    def input(self, modality: str) -> list[SegmentMap]:
        """Return the input picture of a modality; an empty list for other inputs, whose maps contain the input."""
        view = self.view(modality)
        if not view.get("webp"):
            return []
        return [SegmentMap(modality, modality, [], array([]), 0.0, view, foot="input")]

    def cells(self, index: int) -> list[Any]:
        """Return the first cells of an output's rows, for the columns ``OUTPUT_COLUMNS``."""
        return [self.record.position, index, self.labels.output(index)]


OUTPUT_COLUMNS = ("example", "output", "output_name")
"""First columns of an explained output's rows."""


def array(numbers: Any) -> FloatArray:
    """Return a tensor or a list as a NumPy array."""
    import numpy as np

    found = numbers.detach().cpu().double().numpy() if isinstance(numbers, Tensor) else numbers
    return np.asarray(found, dtype=np.float64)


def largest_weight(*weights: Tensor) -> float:
    """Return the limit of a common colour scale of maps."""
    found = [abs(float(one)) for part in weights for one in part.flatten() if math.isfinite(float(one))]
    return max(found, default=0.0)


def split_bars(title: str, value: float, unimodal: float, interaction: float, error: float | None) -> Bars:
    """Return a value, its unimodal contribution (UC) and its interaction (MI) as bars with 95 % intervals."""
    half = math.nan if error is None else INTERVAL * error
    parts = ((unimodal, "UC, each alone", ALONE), (interaction, "MI, together", TOGETHER))
    bars = [Bar(label, part, part - half, part + half, colour) for part, label, colour in parts]
    return Bars(title, [Bar("value", value, colour=VALUE), *bars])


def result_card(result: "Result", title: str = "") -> Card:
    """Return the card of a result with scalars only, such as the result of a user's own method."""
    rows = [(name, float(value)) for name, value in result.values.items()]
    shown = [f"{name} {fixed(value, 3)}" for name, value in rows[:4]]
    examples = f"{len(result.examples)} examples" if result.examples else ""
    words = "; ".join(filter(None, [*shown, examples])) or "nothing found"
    return Card(words, frame=TidyRows(["name", "value"], rows), title=title)


def examples_card(result: "Result", cards: Sequence[Card], noun: str, frame: TidyRows) -> Card:
    """Return the card of a result that consists of explained examples, with a part for each."""
    count = len(cards)
    means = [f"{name} {fixed(float(value), 3)}" for name, value in list(result.values.items())[:4]]
    verdict = f"{count} {'example' if count == 1 else 'examples'} {noun}"
    rest = [f"{count - MOST_EXAMPLES} further examples are in to_pandas()."] if count > MOST_EXAMPLES else []
    lines = [f"Means: {', '.join(means)}"] if means else []
    return Card(verdict, frame=frame, lines=lines, notes=rest, parts=cards[:MOST_EXAMPLES])


def output_title(labels: "Labels", index: int, role: str) -> str:
    """Return the name of an output, and its role."""
    return labels.output(index) + ("" if role == "output" else f" ({role})")
