"""The fourth stage of MultiViz: the model's predictions as a sparse linear model of its fused features."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mviz_lightning.batch.strata import stratum_order
from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.argument_checks import require_least
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.multimodal_prediction.fidelity import FAMILIES, accuracy, fidelities, same, targets_of
from mviz_lightning.explainers.multimodal_prediction.kept import prediction_lines
from mviz_lightning.explainers.multimodal_prediction.result import (
    ACTIVATED,
    ExampleFeatures,
    FeatureEffect,
    PredictionResult,
    ReferenceExample,
)
from mviz_lightning.explainers.multimodal_representation.result import pictured
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.functional import SparseLinear, sparse_linear
from mviz_lightning.functional.features import strongest_examples
from mviz_lightning.functional.targets import labelled
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext

FEWEST = 20
"""Smallest number of examples: one half is fitted, the other half is held out."""

WEIGHTS = 30
"""Largest number of weights in the table of the sparse model, the strongest first."""

BARS = 10
"""Largest number of features in the picture of an example."""


@dataclass(frozen=True, kw_only=True)
class MultimodalPrediction(Explainer):
    """How few fused features, in a linear model, predict what the model predicts, and which (MultiViz, stage 4).

    The features are the input of the last linear layer; of outputs with positions, their means over a region of each
    example, before the last linear layer or convolution that returns a vector for each position. They are standardised
    on one half of the reference examples, and a path of elastic nets (0.99 of the penalty on absolute weights) is
    fitted there to the model's predictions. The held-out half chooses the penalty: the largest one within a standard
    error of the best. A second path is fitted to the labels. It evaluates one row for each reference example.

    It logs ``fidelity``, the fraction of held-out examples for which the sparse model predicts what the model predicts;
    ``fidelity_baseline``, the same for the most frequent prediction; ``sparsity``, the fraction of weights that are 0;
    and with labels ``accuracy``, the held-out accuracy of the sparse model that is fitted to them. With several labels
    for each example, each label counts. For values, fidelity and accuracy are R².

    Features have the numbers that :class:`MultimodalRepresentation` uses. If that stands before this one in
    ``explainers=``, tables name its pictures; its ``features=`` chooses which features it shows.

    Args:
        num_examples: Number of examples whose strongest features are drawn; they stay the same during the training.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        layer: Name of the submodule whose input is taken for the features; the last linear layer by default.
        name: First part of the keys of its scalars and pictures. Give each one a name of its own.

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
        """Ask for all reference examples, unmasked."""
        return Request([Query.aligned(torch.arange(probe_context.probe.size), len(probe_context.probe.schema.names))])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> PredictionResult:
        """Fit sparse models to predictions and labels."""
        outputs, features = responses.outputs[0], responses.features[0]
        self._require_enough(len(outputs))
        held_out, task = held_out_half(probe_context, outputs), probe_context.task
        predicted = targets_of(outputs, None, task)
        model = sparse_linear(features, predicted, held_out, FAMILIES[task])
        values = fidelities(model, features, predicted, held_out, task)
        values |= label_accuracy(probe_context, outputs, features, held_out)
        non_zero = used(model)
        values["sparsity"] = 1 - sum(non_zero.values()) / max(1, len(model.weights) * len(non_zero))
        agreeing = None if task == "regression" else same(model.scores(features), predicted, task).all(1)
        weights = heaviest(model.weights)
        shown = [example_features(probe_context, k, outputs[k], features[k], model, agreeing) for k in examples]
        named = {feature for feature, *_ in weights} | {one.feature for found in shown for one in found.effects}
        return PredictionResult(
            values=values,
            features=len(model.weights),
            constant=int(model.spread.isinf().sum()),
            penalty=model.penalty,
            held_out=int(held_out.sum()),
            non_zero=non_zero,
            weights=weights,
            examples=shown,
            activating={
                feature: _activating(probe_context, outputs, features[:, feature]) for feature in sorted(named)
            },
            pictures=pictured(responses.memories, self.layer),
        )

    def kept(self, result: PredictionResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each shown example, and one about the sparse model."""
        return prediction_lines(result, context)

    def draw(self, result: PredictionResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw the examples, list the weights, and say how well the sparse model predicts."""
        from mviz_lightning.explainers.multimodal_prediction.figure import prediction_records

        return prediction_records(result, self.name, drawing, when)

    def _require_enough(self, examples: int) -> None:
        if examples < FEWEST:
            raise RuntimeError(
                f"{self.name}: {examples} examples are too few for a sparse model; it takes {FEWEST} or more. "
                "Raise reference= of the monitor (num_examples= of explain), or enlarge the validation set."
            )


def known_labels(probe_context: ProbeContext) -> Tensor:
    """Return the examples that have a label."""
    target = probe_context.target
    return torch.arange(0) if target is None else labelled(target, probe_context.task).nonzero().flatten()


def label_accuracy(
    probe_context: ProbeContext, outputs: Tensor, features: Tensor, held_out: Tensor
) -> dict[str, float]:
    """Return the held-out accuracy of a sparse model that is fitted to the labels; nothing if they are too few."""
    known, task = known_labels(probe_context), probe_context.task
    if len(known) < FEWEST:
        return {}
    labels = targets_of(outputs[known], cast("Tensor", probe_context.target)[known], task)
    return {"accuracy": accuracy(features[known], labels, held_out[known], task)}


def used(model: SparseLinear) -> dict[int, int]:
    """Return how many features every output has a weight for; those that did not vary are left out."""
    learnt = model.intercept.isfinite().nonzero().flatten().tolist()
    return {output: int((model.weights[:, output] != 0).sum()) for output in learnt}


def _activating(probe_context: ProbeContext, outputs: Tensor, activations: Tensor) -> list[ReferenceExample]:
    found = strongest_examples(activations, ACTIVATED)
    targets = [outcome(outputs[k], probe_context.label(k), probe_context.task).target for k in found]
    return [ReferenceExample(k, probe_context.positions[k], known) for k, known in zip(found, targets, strict=True)]


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
        example: Index of the example.
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
    agrees = None if agreeing is None else bool(agreeing[example])
    about = vars(probe_context.prediction(example, found))
    return ExampleFeatures(**about, output=output, effects=effects, agrees=agrees)
