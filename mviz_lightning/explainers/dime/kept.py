"""DIME's explanations as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.dime.result import Attribution, DIMEResult
from mviz_lightning.explainers.kept import KeepingContext


def dime_lines(result: DIMEResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each explained output of each example."""
    for line, output in context.explained(result.examples):
        yield {
            "result": "dime",
            **line,
            "uc": output.unimodal,
            "mi": output.interaction,
            "error": output.error,
            "weights": {name: _weights(part) for name, part in output.parts.items()},
        }


def _weights(part: Attribution) -> dict[str, Any]:
    return {
        "uc": part.unimodal,
        "mi": part.interaction,
        "uc_r2": part.unimodal_r2,
        "mi_r2": part.interaction_r2,
    }
