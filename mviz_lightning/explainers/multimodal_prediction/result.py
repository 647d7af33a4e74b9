"""A sparse linear model of the model's predictions, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.plain import Brief
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card

ACTIVATED = 3
"""Number of examples that illustrate a feature in pictures and tables."""


@dataclass(frozen=True)
class FeatureEffect(Brief):
    """The effect of one feature on one output of the sparse model.

    Attributes:
        feature: Number of the feature.
        weight: Weight of the standardised feature.
        activation: Value of the standardised feature in the example.
    """

    feature: int
    weight: float
    activation: float

    @property
    def effect(self) -> float:
        """Weight x activation."""
        return self.weight * self.activation


@dataclass(frozen=True)
class ExampleFeatures(FromMethod, PredictionRecord):
    """The features with effects on the sparse model's prediction of one example.

    Attributes:
        output: Index of the explained output (the predicted one).
        effects: Effects of the features with a weight, the strongest first.
        agrees: Whether the sparse model and the model have the same prediction; None for values.
    """

    output: int
    effects: Sequence[FeatureEffect]
    agrees: bool | None

    @property
    def _picture_name(self) -> str:
        return f"example_{self.position}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.multimodal_prediction.card import features_card

        return features_card(self)


@dataclass(frozen=True)
class ReferenceExample(Brief):
    """An example that illustrates a feature in pictures, because it activates the feature strongly.

    Attributes:
        example: Index among the fixed examples.
        position: Index in the validation set.
        target: Class, list of labels or value; None if unknown.
    """

    example: int
    position: int
    target: Any = None


@dataclass(frozen=True, kw_only=True)
class PredictionResult(Result):
    """A sparse linear model of the model's predictions.

    Attributes:
        features: Number of features, F.
        constant: Number of features that do not vary.
        penalty: Penalty chosen on held-out examples.
        held_out: Number of held-out examples.
        non_zero: Output -> its number of weights that are not 0; outputs that do not vary are left out.
        weights: ``(feature, output, weight)``, the strongest first.
        examples: The drawn examples.
        activating: Feature -> the reference examples that activate it most, for all features named above.
        pictures: Feature -> name of its picture from MultimodalRepresentation.
    """

    features: int
    constant: int
    penalty: float
    held_out: int
    non_zero: Mapping[int, int] = field(default_factory=dict)
    weights: Sequence[tuple[int, int, float]] = ()
    examples: Sequence[ExampleFeatures] = ()
    activating: Mapping[int, Sequence[ReferenceExample]] = field(default_factory=dict)
    pictures: Mapping[int, str] = field(default_factory=dict)

    def _card(self) -> "Card":
        from mviz_lightning.explainers.multimodal_prediction.card import prediction_card

        return prediction_card(self)
