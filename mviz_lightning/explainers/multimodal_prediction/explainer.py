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
"""Largest number of weights in the table of the sparse model (the strongest)."""

BARS = 10
"""Largest number of features in the picture of an example."""


@dataclass(frozen=True, kw_only=True)
class MultimodalPrediction(Explainer):
    """A sparse linear model of fused features that predicts the model's predictions (MultiViz, stage 4).

    It shows how many features are enough, and which. The features are the input of the last linear layer. For outputs
    with positions, they are the means over a region of each example of the input of the last linear layer or
    convolution that returns a vector for each position. They are standardised on one half of the reference examples,
    and a path of elastic nets (0.99 of the penalty on absolute weights) is fitted there to the model's predictions. The
    penalty is chosen on the held-out half: the largest penalty within a standard error of the best. A second path is
    fitted to the labels. It evaluates one row for each reference example.

    It logs ``fidelity``, the fraction of held-out examples for which the sparse model and the model have the same
    prediction; ``fidelity_baseline``, the fidelity of the most frequent prediction; ``sparsity``, the fraction of
    weights that are 0; and with labels ``accuracy``, the held-out accuracy of the sparse model that is fitted to them.
    With several labels per example, each label counts. For values, fidelity and accuracy are R².

    Features have the same numbers as in :class:`MultimodalRepresentation`. If that explainer is before this one in
    ``explainers=``, tables name its pictures; its ``features=`` chooses the features that it shows.

    Args:
        num_examples: Number of examples whose strongest features are drawn; they are fixed during the training.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        layer: Name of the submodule whose input is used as features; by default the last linear layer.
        name: First part of the keys of its scalars and pictures. Give each one a different name.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    layer: str | None = None
    name: str = "prediction"
    needs_features = True

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1})

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request all reference examples, unmasked."""
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
        """Draw the examples, list the weights, and write the fidelity of the sparse model."""
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
    """Return the held-out accuracy of a sparse model that is fitted to the labels; empty if there are too few."""
    known, task = known_labels(probe_context), probe_context.task
    if len(known) < FEWEST:
        return {}
    labels = targets_of(outputs[known], cast("Tensor", probe_context.target)[known], task)
    return {"accuracy": accuracy(features[known], labels, held_out[known], task)}


def used(model: SparseLinear) -> dict[int, int]:
    """Return the number of features with a weight for every output, without outputs that do not vary."""
    learnt = model.intercept.isfinite().nonzero().flatten().tolist()
    return {output: int((model.weights[:, output] != 0).sum()) for output in learnt}


def _activating(probe_context: ProbeContext, outputs: Tensor, activations: Tensor) -> list[ReferenceExample]:
    found = strongest_examples(activations, ACTIVATED)
    targets = [outcome(outputs[k], probe_context.label(k), probe_context.task).target for k in found]
    return [ReferenceExample(k, probe_context.positions[k], known) for k, known in zip(found, targets, strict=True)]


def held_out_half(probe_context: ProbeContext, outputs: Tensor) -> Tensor:
    """Return ``(N,)`` bool: every second example, sorted by label or, without labels, by prediction."""
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
    """Rank the features of one example's prediction by |weight x activation|.

    Args:
        probe_context: The fixed examples.
        example: Index of the example.
        outputs: ``(C,)`` outputs of the model.
        features: ``(F,)`` features of the example.
        model: The sparse model.
        agreeing: ``(N,)`` whether sparse model and model have the same decision.
    """
    found = outcome(outputs, probe_context.label(example), probe_context.task)
    output = next((output for output, role in found.roles.items() if "predicted" in role), next(iter(found.roles)))
    activations, weights = model.standardised(features.unsqueeze(0))[0], model.weights[:, output]
    order = (weights * activations).abs().argsort(descending=True, stable=True)[:BARS].tolist()
    effects = [FeatureEffect(k, float(weights[k]), float(activations[k])) for k in order if weights[k] != 0]
    agrees = None if agreeing is None else bool(agreeing[example])
    about = vars(probe_context.prediction(example, found))
    return ExampleFeatures(**about, output=output, effects=effects, agrees=agrees)
