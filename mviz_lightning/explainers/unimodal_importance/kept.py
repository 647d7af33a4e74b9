"""Importances of segments as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.kept import KeepingContext
from mviz_lightning.explainers.unimodal_importance.result import ImportanceResult, SegmentAttribution


def importance_lines(result: ImportanceResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each explained output of each example."""
    for line, output in context.explained(result.examples):
        yield {"result": "importance", **line, "weights": {name: _weights(part) for name, part in output.parts.items()}}


def _weights(part: SegmentAttribution) -> dict[str, Any]:
    return {
        "weights": part.weights,
        "change": part.change,
        "method": part.method,
        "reason": part.reason,
        "r2": part.r2,
        "floor": part.floor,
    }
