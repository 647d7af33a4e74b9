"""What segments of two modalities add together, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.functional.interactions import Corners
from mviz_lightning.sinks.plain import Brief
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class PairInteraction(Brief):
    """What the segments of two modalities add to an output together.

    Attributes:
        first: A modality.
        second: The other.
        weights: ``(U, V)`` in the output's own unit, beyond what each segment adds by itself.
        method: The method that found them.
        corners: Number of contexts that differences were averaged over; of no meaning for derivatives.
        reason: Why another method was used than requested; empty if it was not.
        floor: Largest weight that may be rounding.
    """

    first: str
    second: str
    weights: Tensor
    method: str
    corners: Corners = 1
    reason: str = ""
    floor: float = 0.0

    @property
    def has_effect(self) -> bool:
        """Return whether any two segments add more together than rounding may."""
        return bool((self.weights.abs() > self.floor).any())

    def of(self, modality: str) -> Tensor:
        """Return the weights with a row for every segment of one of the two modalities."""
        return self.weights if modality == self.first else self.weights.T

    def other(self, modality: str) -> str:
        """Return the other modality of the two."""
        return self.second if modality == self.first else self.first


@dataclass(frozen=True)
class OutputInteractions(Brief):
    """What acts together on one output.

    Attributes:
        output: Index of the output.
        role: ``"true"`` or ``"predicted"`` class, both at once, or ``"output"``.
        value: The output as the model returned it.
        pairs: One for each pair of modalities.
    """

    output: int
    role: str
    value: float
    pairs: Sequence[PairInteraction]


@dataclass(frozen=True)
class ExampleInteractions(FromMethod, PredictionRecord):
    """What acts together in one example: its prediction, and each output that is explained."""

    outputs: Sequence[OutputInteractions]

    @property
    def _picture_name(self) -> str:
        return f"example_{self.position}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.cross_modal_interaction.card import interactions_card

        return interactions_card(self)


@dataclass(frozen=True, kw_only=True)
class CrossModalResult(Result):
    """Which segments act together in the shown examples.

    Attributes:
        examples: The examples that are drawn.
        segments: Modality -> names or numbers of the segments whose maps are drawn; for other modalities the top ones.
        top_segments: Number of top segments.
    """

    examples: Sequence[ExampleInteractions] = ()
    segments: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    top_segments: int = 2

    def _card(self) -> "Card":
        from mviz_lightning.explainers.cross_modal_interaction.card import cross_modal_card

        return cross_modal_card(self)
