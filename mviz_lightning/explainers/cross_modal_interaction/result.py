"""Interactions of segments of two modalities, as plain data."""

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
    """Interactions of the segments of two modalities in one output.

    Attributes:
        first: One modality.
        second: The other modality.
        weights: ``(U, V)`` interactions in the output's own unit: effects beyond those of single segments.
        method: The method that was used.
        corners: Number of contexts over which differences were averaged; not used for derivatives.
        reason: Why a method other than the requested one was used; empty otherwise.
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
        """Return whether any interaction is larger than rounding."""
        return bool((self.weights.abs() > self.floor).any())

    def of(self, modality: str) -> Tensor:
        """Return the weights with a row for every segment of one of the two modalities."""
        return self.weights if modality == self.first else self.weights.T

    def other(self, modality: str) -> str:
        """Return the other modality of the two."""
        return self.second if modality == self.first else self.first


@dataclass(frozen=True)
class OutputInteractions(Brief):
    """Interactions in one output.

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
    """Interactions in one example: its prediction, and each explained output."""

    outputs: Sequence[OutputInteractions]

    @property
    def _picture_name(self) -> str:
        return f"example_{self.position}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.cross_modal_interaction.card import interactions_card

        return interactions_card(self)


@dataclass(frozen=True, kw_only=True)
class CrossModalResult(Result):
    """Interactions of segments in the shown examples.

    Attributes:
        examples: The drawn examples.
        segments: Modality -> names or numbers of the segments whose maps are drawn; by default the strongest ones.
        top_segments: Number of strongest segments.
    """

    examples: Sequence[ExampleInteractions] = ()
    segments: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    top_segments: int = 2

    def _card(self) -> "Card":
        from mviz_lightning.explainers.cross_modal_interaction.card import cross_modal_card

        return cross_modal_card(self)
