"""A verdict as a card: state, evidence, advice, and the total effects on which it is based."""

import math
from collections.abc import Sequence

from mviz_lightning.collapse.messages import alert, evidence, headline
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import Bar, Bars, Diagram
from mviz_lightning.plotting.panels import COLOURS
from mviz_lightning.sinks.records import State

COLUMNS = (
    "head",
    "modality",
    "state",
    "since_epoch",
    "since_step",
    "total",
    "total_low",
    "total_high",
    "skill",
    "drop",
)


def verdict_card(verdict: Verdict) -> Card:
    """Return the card of a verdict."""
    told = evidence(verdict)
    advice = alert(verdict).text.split("\n")[1 + len(told) :]
    urgent = verdict.state is State.COLLAPSED
    frame = TidyRows(COLUMNS, [_row(verdict)])
    return Card(
        headline(verdict), _bars(verdict), frame, [line.strip() for line in told], _advice(advice), urgent=urgent
    )


def _advice(lines: Sequence[str]) -> list[str]:
    return [line.replace("  - ", "- ", 1) for line in lines]


def _bars(verdict: Verdict) -> list[Diagram]:
    """Return the totals of all modalities at the latest check, the verdict's modality first."""
    if verdict.row is None:
        return []
    names = [name for name in (verdict.modality, *verdict.rest) if f"total/{name}" in verdict.row.values]
    bars = [Bar(name, *_total(verdict, name), COLOURS[place % len(COLOURS)]) for place, name in enumerate(names)]
    return [Bars("Lost without a modality (total effect, 95 %)", bars, percent=True)] if bars else []


def _total(verdict: Verdict, name: str) -> tuple[float, float, float]:
    values, key = {} if verdict.row is None else verdict.row.values, f"total/{name}"
    value, low, high = (values.get(one, math.nan) for one in (key, bound_name(key, "low"), bound_name(key, "high")))
    return value, low, high


def _row(verdict: Verdict) -> list[object]:
    since = [None, None] if verdict.since is None else [verdict.since.epoch, verdict.since.step]
    numbers = [*_total(verdict, verdict.modality), verdict.skill, verdict.drop]
    return [verdict.head, verdict.modality, verdict.state.name.lower(), *since, *numbers]
