"""Importances of segments, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.plain import Brief
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class SegmentAttribution(Brief):
    """The weights of one modality's segments for an output.

    Attributes:
        weights: ``(U,)`` in the output's own unit.
        change: The output minus the output with all segments masked; the weights should add up to it.
        method: The method that was used.
        reason: Why a method other than the requested one was used; empty otherwise.
        r2: R² of LIME on held-out masks; None for other methods.
        floor: Largest change that may be rounding.
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
        """Return whether the effect of the segments is larger than rounding."""
        return self._scale > self.floor

    @property
    def gap(self) -> float:
        """Return the difference between the weights' sum and the change, relative to the change or to all weights."""
        return abs(float(self.weights.sum()) - self.change) / self._scale if self.has_effect else 0.0


@dataclass(frozen=True)
class OutputImportance(Brief):
    """The weights of all segments for one output.

    Attributes:
        output: Index of the output.
        role: ``"true"`` or ``"predicted"`` class, both at once, or ``"output"``.
        value: The output as the model returned it.
        parts: Modality -> weights of its segments.
    """

    output: int
    role: str
    value: float
    parts: Mapping[str, SegmentAttribution]


@dataclass(frozen=True)
class ExampleImportance(FromMethod, PredictionRecord):
    """Importances in one example: its prediction, and each explained output."""

    outputs: Sequence[OutputImportance]

    @property
    def _picture_name(self) -> str:
        return f"example_{self.position}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.unimodal_importance.card import importance_card

        return importance_card(self)


@dataclass(frozen=True, kw_only=True)
class ImportanceResult(Result):
    """The result of unimodal importance.

    Attributes:
        examples: The drawn examples.
    """

    examples: Sequence[ExampleImportance] = ()

    def _card(self) -> "Card":
        from mviz_lightning.explainers.unimodal_importance.card import importances_card

        return importances_card(self)
