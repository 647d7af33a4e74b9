"""Interactions of segments as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.cross_modal_interaction.result import CrossModalResult, PairInteraction
from mviz_lightning.explainers.kept import KeepingContext


def interaction_lines(result: CrossModalResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each explained output of each example."""
    for line, output in context.explained(result.examples):
        yield {"result": "cross_modal", **line, "pairs": [_pair(pair) for pair in output.pairs]}


def _pair(pair: PairInteraction) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "weights": pair.weights,
        "method": pair.method,
        "corners": pair.corners,
        "reason": pair.reason,
        "floor": pair.floor,
    }
