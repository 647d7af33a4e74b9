"""The fourth stage of MultiViz: the model's predictions as a sparse linear model of its fused features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from mviz_lightning.batch.strata import stratum_order
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.base import ProbeContext
from mviz_lightning.explainers.checks import require_least
from mviz_lightning.explainers.dime.result import Explanation
from mviz_lightning.explainers.multimodal_prediction.fidelity import FAMILIES, accuracy, fidelities, same, targets_of
from mviz_lightning.explainers.multimodal_representation.result import pictured
from mviz_lightning.explainers.outcome import outcome
from mviz_lightning.explainers.survey import Request, Responses, Result, Survey
from mviz_lightning.functional import SparseLinear, sparse_linear
from mviz_lightning.functional.features import strongest_examples
from mviz_lightning.functional.targets import labelled

FEWEST = 20
"""Examples, of which one half is fitted and the other foretold."""

WEIGHTS = 30
"""Of the sparse model in the table: the strongest."""

BARS = 10
"""Features of an example in its picture at the most."""

ACTIVATED = 3
"""Examples that show what a feature responds to."""


@dataclass(frozen=True)
class FeatureEffect:
    """What one feature adds to one output of the sparse model.

    Attributes:
        feature: Its number.
        weight: Of the standardised feature.
        activation: The standardised feature of the example.
    """

    feature: int
    weight: float
    activation: float

    @property
    def effect(self) -> float:
        """Weight x activation."""
        return self.weight * self.activation


@dataclass(frozen=True)
class ExampleFeatures:
    """The features that the sparse model predicts one example from.

    Attributes:
        explanation: Its prediction and label; without attributions.
        output: That is looked at: the predicted one.
        effects: Of the features with a weight, the strongest first.
        agrees: Whether the sparse model predicts the same as the model; None for values.
    """

    explanation: Explanation
    output: int
    effects: Sequence[FeatureEffect]
    agrees: bool | None


@dataclass(frozen=True)
class ActivatingExample:
    """An example that activates a feature strongly.

    Attributes:
        example: Its index among the fixed examples.
        position: In the validation set.
    """

    example: int
    position: int


@dataclass(frozen=True, kw_only=True)
class PredictionResult(Result):
    """A sparse linear model of the model's predictions.

    Attributes:
        features: How many there are, F.
        constant: How many of them do not vary.
        penalty: That was chosen on held-out examples.
        held_out: How many these are.
        non_zero: Output -> its weights other than 0; outputs that do not vary are left out.
        weights: ``(feature, output, weight)``, the strongest first.
        examples: Those looked at closer.
        activating: Feature -> the reference examples that activate it most, for all features that are named above.
        pictures: Feature -> name of the picture in which a survey of representations shows it.
    """

    features: int
    constant: int
    penalty: float
    held_out: int
    non_zero: Mapping[int, int] = field(default_factory=dict)
    weights: Sequence[tuple[int, int, float]] = ()
    examples: Sequence[ExampleFeatures] = ()
    activating: Mapping[int, Sequence[ActivatingExample]] = field(default_factory=dict)
    pictures: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MultimodalPrediction(Survey):
    """How few fused features, added up, foretell what the model predicts, and which (MultiViz, stage 4).

    The features, what the last linear layer is given, are standardised on one half of the reference examples, and a
    path of elastic nets (.99 of the penalty on absolute weights) is fitted there to the model's predictions; the other
    half chooses the penalty, the largest within a standard error of the best. A second path is fitted to the labels.
    Costs one forward for each reference example.

    Its scalars: ``fidelity``, the share of held-out examples of which the sparse model predicts what the model
    predicts, and ``fidelity_baseline``, the same of the most frequent prediction; ``sparsity``, the share of weights
    that are 0; with labels ``accuracy``, of the sparse model that is fitted to them, held out. Of labels that do not
    exclude one another each counts; for values, fidelity and accuracy are R2.

    Features are called by their numbers, as :class:`MultimodalRepresentation` does, whose pictures the tables name
    where it stands before this in the list of explainers; it shows more of those named in its ``units=``.

    Args:
        num_examples: Examples whose strongest features are drawn, the same through the training.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        layer: Name of the submodule whose input is taken for the features; the last linear layer by default.
        name: Of its scalars and pictures; tells several of them apart.

    Raises:
        ConfigurationError: An argument is impossible.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    layer: str | None = None
    name: str = "prediction"
    needs_features = True

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1})

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Ask for all reference examples as they are."""
        return Request([Query.aligned(torch.arange(probe_context.probe.size), len(probe_context.probe.layout.names))])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Result:
        """Fit sparse models to predictions and labels."""
        outputs, features = responses.outputs[0], responses.features[0]
        self._require_enough(len(outputs))
        held_out, task = held_out_half(probe_context, outputs), probe_context.task
        predicted = targets_of(outputs, None, task)
        model = sparse_linear(features, predicted, held_out, FAMILIES[task])
        values = fidelities(model, features, predicted, held_out, task)
        known = known_labels(probe_context)
        if len(known) >= FEWEST:
            labels = targets_of(outputs[known], cast("Tensor", probe_context.target)[known], task)
            values["accuracy"] = accuracy(features[known], labels, held_out[known], task)
        non_zero = used(model)
        values["sparsity"] = 1 - sum(non_zero.values()) / max(1, len(model.weights) * len(non_zero))
        agreeing = None if task == "regression" else same(model.scores(features), predicted, task).all(1)
        weights = heaviest(model.weights)
        closer = [example_features(probe_context, k, outputs[k], features[k], model, agreeing) for k in examples]
        named = {feature for feature, *_ in weights} | {one.feature for found in closer for one in found.effects}
        return PredictionResult(
            values=values,
            features=len(model.weights),
            constant=int(model.spread.isinf().sum()),
            penalty=model.penalty,
            held_out=int(held_out.sum()),
            non_zero=non_zero,
            weights=weights,
            examples=closer,
            activating={feature: _activating(probe_context, features[:, feature]) for feature in sorted(named)},
            pictures=pictured(responses.memories, self.layer),
        )

    def _require_enough(self, examples: int) -> None:
        if examples < FEWEST:
            raise RuntimeError(
                f"{self.name}: {examples} examples are too few for a sparse model; it takes {FEWEST} or more. "
                "Raise reference= of the monitor, or enlarge the validation set."
            )


def known_labels(probe_context: ProbeContext) -> Tensor:
    """Return the examples that have a label."""
    target = probe_context.target
    return torch.arange(0) if target is None else labelled(target, probe_context.task).nonzero().flatten()


def used(model: SparseLinear) -> dict[int, int]:
    """Return how many features every output has a weight for; those that did not vary are left out."""
    learnt = model.intercept.isfinite().nonzero().flatten().tolist()
    return {output: int((model.weights[:, output] != 0).sum()) for output in learnt}


def _activating(probe_context: ProbeContext, activations: Tensor) -> list[ActivatingExample]:
    return [
        ActivatingExample(example, probe_context.positions[example])
        for example in strongest_examples(activations, ACTIVATED)
    ]


def held_out_half(probe_context: ProbeContext, outputs: Tensor) -> Tensor:
    """Return ``(N,)`` bool: every second example along the labels, or else along the predictions."""
    key = probe_context.target
    if key is None:
        key = outputs.argmax(1) if probe_context.task == "multiclass" else outputs
    generator = torch.Generator().manual_seed(probe_context.seed)
    order, places = stratum_order(key, len(outputs), generator), torch.arange(len(outputs))
    coins = torch.randint(2, (len(outputs),), generator=generator)
    held_out = torch.zeros(len(outputs), dtype=torch.bool)
    held_out[order] = (places + coins[places // 2]) % 2 == 1
    return held_out


def heaviest(weights: Tensor) -> list[tuple[int, int, float]]:
    """Return ``(feature, output, weight)`` of the strongest weights of ``(F, C)``, none of them 0."""
    flat = weights.flatten()
    order = flat.abs().argsort(descending=True, stable=True)[:WEIGHTS].tolist()
    return [(*divmod(place, weights.shape[1]), float(flat[place])) for place in order if flat[place] != 0]


def example_features(
    probe_context: ProbeContext,
    example: int,
    outputs: Tensor,
    features: Tensor,
    model: SparseLinear,
    agreeing: Tensor | None,
) -> ExampleFeatures:
    """Rank the features that one example's prediction is made of by |weight x activation|.

    Args:
        probe_context: The fixed examples.
        example: Which.
        outputs: ``(C,)`` of the model.
        features: ``(F,)``.
        model: The sparse one.
        agreeing: ``(N,)`` whether it decides as the model does.
    """
    found = outcome(outputs, probe_context.label(example), probe_context.task)
    output = next((output for output, role in found.roles.items() if "predicted" in role), next(iter(found.roles)))
    activations, weights = model.standardised(features.unsqueeze(0))[0], model.weights[:, output]
    order = (weights * activations).abs().argsort(descending=True, stable=True)[:BARS].tolist()
    effects = [FeatureEffect(k, float(weights[k]), float(activations[k])) for k in order if weights[k] != 0]
    about = Explanation(
        example, probe_context.positions[example], found.predicted, found.target, found.probability, outputs=[]
    )
    return ExampleFeatures(about, output, effects, None if agreeing is None else bool(agreeing[example]))
