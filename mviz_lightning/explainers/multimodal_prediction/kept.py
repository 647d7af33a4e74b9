"""The sparse model as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.kept import KeepingContext
from mviz_lightning.explainers.multimodal_prediction.result import ExampleFeatures, PredictionResult


def prediction_lines(result: PredictionResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield the weights of the sparse model, and a line for each shown example."""
    yield {
        "result": "prediction",
        "features": result.features,
        "constant": result.constant,
        "penalty": result.penalty,
        "held_out": result.held_out,
        "non_zero": result.non_zero,
        "weights": result.weights,
        "outputs": {index: context.labels.output(index) for index in _outputs(result)},
        "activating": {
            feature: [context.identify(one) for one in examples] for feature, examples in result.activating.items()
        },
    }
    for one in result.examples:
        yield {"result": "prediction", **_example(one, context)}


def _outputs(result: PredictionResult) -> list[int]:
    """Return the outputs that occur anywhere in the result, in order."""
    return sorted({*result.non_zero, *(output for _, output, _ in result.weights)})


def _example(one: ExampleFeatures, context: KeepingContext) -> dict[str, Any]:
    effects = [vars(effect) | {"effect": effect.effect} for effect in one.effects]
    return {**context.example(one), **context.output(one.output), "effects": effects, "agrees": one.agrees}
