"""What units of two modalities add together, as plain data: what a survey of cross-modal interactions finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mviz_lightning.explainers.base import Result
from mviz_lightning.sinks.records import PredictionRecord


@dataclass(frozen=True)
class PairInteraction:
    """What the units of two modalities add to an output together.

    Attributes:
        first: A modality.
        second: The other.
        weights: ``(U, V)`` in units of the output, beyond what each unit adds by itself.
        method: By which they were found.
        reason: Why by another method than asked for; nothing where it is that one.
        floor: Weights up to which may be rounding.
    """

    first: str
    second: str
    weights: Tensor
    method: str
    reason: str = ""
    floor: float = 0.0

    @property
    def has_effect(self) -> bool:
        """Return whether any two units add more together than rounding may."""
        return bool((self.weights.abs() > self.floor).any())

    def of(self, modality: str) -> Tensor:
        """Return the weights with a row for every unit of one of the two modalities."""
        return self.weights if modality == self.first else self.weights.T

    def other(self, modality: str) -> str:
        """Return the other modality of the two."""
        return self.second if modality == self.first else self.first


@dataclass(frozen=True)
class OutputInteractions:
    """What acts together on one output.

    Attributes:
        output: Its index.
        role: ``"true"`` or ``"predicted"`` class, both at once, or ``"output"``.
        value: The output, as the model gave it.
        pairs: Of modalities.
    """

    output: int
    role: str
    value: float
    pairs: Sequence[PairInteraction]


@dataclass(frozen=True)
class ExampleInteractions(PredictionRecord):
    """What acts together in one example: its prediction, and each output that is explained."""

    outputs: Sequence[OutputInteractions]


@dataclass(frozen=True, kw_only=True)
class CrossModalResult(Result):
    """What a survey of cross-modal interactions found.

    Attributes:
        examples: That were looked at.
        segments: Modality -> names or numbers of the units whose maps are drawn; others have their top units drawn.
        top_segments: How many those are.
    """

    examples: Sequence[ExampleInteractions] = ()
    segments: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    top_segments: int = 2
