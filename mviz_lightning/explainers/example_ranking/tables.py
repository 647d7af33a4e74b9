"""The ranking of examples as a table and as text."""

from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.example_ranking.result import RankedExample, RankingResult
from mviz_lightning.explainers.text_tables import align
from mviz_lightning.functional.numerals import side_by_side
from mviz_lightning.sinks.records import Table

LISTED = 500
"""Largest number of examples in the table (the surest)."""

SHOWN = 3
"""Number of printed examples of each driver."""


def ranking_table(result: RankingResult, key: str, drawing: DrawingContext, when: str) -> Table:
    """List the examples, the surest first.

    Args:
        result: The ranking.
        key: Key of the table.
        drawing: Names of the classes.
        when: Time in the training, in words.
    """
    names = list(result.ranked[0].effects) if result.ranked else []
    effects = [column for name in [*names, "MI"] for column in (name, f"{name} error")]
    columns = ["when", "example", *drawing.labels.region_column, "driver", "sureness", "target", "predicted", "output"]
    return Table(key, [*columns, "value", *effects], [[when, *_cells(one, drawing)] for one in result.ranked[:LISTED]])


def _cells(one: RankedExample, drawing: DrawingContext) -> list[str | float]:
    said = [drawing.labels.outcome(one.target), drawing.labels.outcome(one.predicted)]
    effects = [number for name in one.effects for number in (one.effects[name], one.errors[name])]
    what: list[str | float] = [one.driver, one.sureness, *said, drawing.labels.output(one.output)]
    where = drawing.labels.region_cell(one.example)
    return [one.position, *where, *what, one.value, *effects, one.interaction, one.interaction_error]


def ranking_text(result: RankingResult) -> str:
    """Return the surest examples of each driver, and their numbers."""
    if not result.ranked:
        return "no example was ranked"
    names = list(result.ranked[0].effects)
    header = ["driver", "example", "standard errors from another driver", *(f"{name} alone" for name in names), "MI"]
    rows = [_line(one, names) for driver in result.drivers for one in result.driven_by(driver)[:SHOWN]]
    counts = ", ".join(f"{driver} {len(result.driven_by(driver))}" for driver in result.drivers)
    sure = sum(one.is_sure for one in result.ranked)
    return f"{align([header, *rows])}\n{len(result.ranked)} examples: {counts}; {sure} of them are sure (2 or more)"


def _line(one: RankedExample, names: list[str]) -> list[str]:
    effects = [*(one.effects[name] for name in names), one.interaction]
    errors = [*(one.errors[name] for name in names), one.interaction_error]
    written = side_by_side([*effects, *errors], digits=3)
    parts = zip(effects, written[: len(effects)], written[len(effects) :], strict=True)
    return [one.driver, str(one.position), f"{one.sureness:.1f}", *(_with_error(*part) for part in parts)]


def _with_error(value: float, written: str, error: str) -> str:
    return f"{'+' if value > 0 and written != '0' else ''}{written} ± {error}"
