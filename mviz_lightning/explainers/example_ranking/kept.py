"""Ranked examples as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.example_ranking.result import RankingResult
from mviz_lightning.explainers.kept import KeepingContext


def ranking_lines(result: RankingResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each example, the surest first."""
    for one in result.ranked:
        yield {
            "result": "ranking",
            **context.example(one),
            **context.output(one.output),
            "value": one.value,
            "effects": one.effects,
            "errors": one.errors,
            "interaction": one.interaction,
            "interaction_error": one.interaction_error,
            "driver": one.driver,
            "sureness": one.sureness,
        }
