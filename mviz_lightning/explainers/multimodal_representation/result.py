"""Fused features and the modalities that they follow, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.multimodal_representation.concepts import Concept
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.plain import Brief

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class ActivatingExample(Brief):
    """An example that activates a feature strongly.

    Attributes:
        example: Index among the fixed examples.
        position: Index in the validation set.
        activation: Value of the feature.
        target: Class, list of labels or value; None if unknown.
    """

    example: int
    position: int
    activation: float
    target: Any


@dataclass(frozen=True)
class Feature(FromMethod):
    """One shown feature.

    Attributes:
        number: Index of the feature.
        kind: Position of the modality that it follows; M for a multimodal feature, -1 for a constant one.
        shares: First-order shares in the order of the modalities, then the share of all interactions.
        low: Lower bounds of their 95 % intervals.
        high: Upper bounds.
        deviation: Standard deviation over the recombined rows.
        examples: The examples that activate it most.
        concepts: Traits that are over-represented among its strongest examples.
        overlap: Jaccard index of these examples and those of the previous run; None if one of the runs has none.
        parts: Modality -> ``(U,)`` effect of each of its segments on the feature in the strongest example (occlusion).
    """

    number: int
    kind: int
    shares: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    deviation: float
    examples: Sequence[ActivatingExample]
    concepts: Sequence[Concept]
    overlap: float | None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    _origin: Any = field(default=None, kw_only=True, compare=False, repr=False)  # set by a report

    @property
    def _picture_name(self) -> str:
        return f"feature_{self.number}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.multimodal_representation.card import feature_card

        return feature_card(self)


@dataclass(frozen=True, kw_only=True)
class Representation(Result):
    """A model's fused features, and the modalities that they follow.

    Attributes:
        modalities: Names of the modalities.
        kinds: ``(F,)`` classes of all features, as :attr:`Feature.kind`.
        shares: ``(F, M + 1)`` shares of all features, as :attr:`Feature.shares`.
        total: Number of examples among which the strongest were searched.
        shown: The shown features.
        unfused: The modality that all features follow although the outputs do not: their layer is before the fusion.
    """

    modalities: Sequence[str]
    kinds: Tensor
    shares: Tensor
    total: int
    shown: Sequence[Feature]
    unfused: str | None = None

    def _card(self) -> "Card":
        from mviz_lightning.explainers.multimodal_representation.card import representation_card

        return representation_card(self)


def pictured(memories: Mapping[str, Mapping[str, Any]], layer: str | None) -> dict[int, str]:
    """Return the features of a layer that representation explainers showed last -> names of their pictures.

    Args:
        memories: Name of an explainer -> its latest memory.
        layer: The ``layer`` argument of the explainers; None for the last linear layer.
    """
    return {
        int(number): f"{name}/feature_{number}"
        for name, memory in memories.items()
        if memory.get("layer") == (layer or "")
        for number in memory.get("top", ())
    }
