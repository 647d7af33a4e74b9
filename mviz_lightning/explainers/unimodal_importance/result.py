"""What units add to outputs, as plain data: what a survey of importance finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mviz_lightning.explainers.base import Result
from mviz_lightning.sinks.records import PredictionRecord


@dataclass(frozen=True)
class SegmentAttribution:
    """What the units of one modality add to an output.

    Attributes:
        weights: ``(U,)`` in units of the output.
        change: The output, less what it is where all units are masked: what the weights should add up to.
        method: By which they were found.
        reason: Why by another method than asked for; nothing where it is that one.
        r2: Of LIME, for masks that it was not fitted to; None of other methods.
        floor: Changes up to which may be rounding.
    """

    weights: Tensor
    change: float
    method: str
    reason: str = ""
    r2: float | None = None
    floor: float = 0.0

    @property
    def _scale(self) -> float:
        return max(abs(self.change), float(self.weights.abs().sum()))

    @property
    def has_effect(self) -> bool:
        """Return whether the units change more than rounding may."""
        return self._scale > self.floor

    @property
    def gap(self) -> float:
        """Return how far the weights are from adding up, as a share of the change or of all weights."""
        return abs(float(self.weights.sum()) - self.change) / self._scale if self.has_effect else 0.0


@dataclass(frozen=True)
class OutputImportance:
    """What one output was made up of.

    Attributes:
        output: Its index.
        role: ``"true"`` or ``"predicted"`` class, both at once, or ``"output"``.
        value: The output, as the model gave it.
        parts: Modality -> what its units add.
    """

    output: int
    role: str
    value: float
    parts: Mapping[str, SegmentAttribution]


@dataclass(frozen=True)
class ExampleImportance(PredictionRecord):
    """What matters for one example: its prediction, and each output that is explained."""

    outputs: Sequence[OutputImportance]


@dataclass(frozen=True, kw_only=True)
class ImportanceResult(Result):
    """What unimodal importance found.

    Attributes:
        examples: That were looked at closer.
    """

    examples: Sequence[ExampleImportance] = ()
