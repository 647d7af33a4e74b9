"""Ranked examples as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import Any

from mviz_lightning.explainers.example_ranking.result import RankedExample, RankingResult
from mviz_lightning.explainers.kept import KeepingContext

KEPT = 8
"""Number of stored examples of each driver (the surest); all examples would take more space than all other lines."""


def ranking_lines(result: RankingResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each of the surest examples of each driver."""
    for driver in result.drivers:
        for one in result.driven_by(driver)[:KEPT]:
            yield _line(one, context)


def _line(one: RankedExample, context: KeepingContext) -> dict[str, Any]:
    return {
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
