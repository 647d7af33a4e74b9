"""Shares as cards: one measurement as bars with intervals, the runs of a training as curves with bands."""

import math
from collections.abc import Mapping, Sequence

from mviz_lightning.explainers.contribution_shares.figure import (
    NOT_USED,
    answer_keys,
    coloured,
    run_places,
    series_of,
    shown_runs,
)
from mviz_lightning.explainers.contribution_shares.subset_keys import SIDES
from mviz_lightning.explainers.contribution_shares.tables import further_lines, history_cells
from mviz_lightning.functional.contribution import bound_name, bound_of
from mviz_lightning.notebook.card import Card, TidyRows
from mviz_lightning.plotting.diagrams import Bar, Bars, Curve, Curves, Diagram, Mark, number_words, share_words
from mviz_lightning.plotting.panels import INTERACTION
from mviz_lightning.sinks.records import RunRecord, State

VALUE_COLUMNS = ("head", "name", "kind", "of", "value", "low", "high")
RUN_COLUMNS = ("phase", "epoch", "step", *VALUE_COLUMNS)

NAMED = 4
"""Largest number of modalities named in a verdict; the others are counted."""


def verdict_words(values: Mapping[str, float], modalities: Sequence[str]) -> str:
    """Return one sentence about the most used modality and the others."""
    totals = {name: values[f"total/{name}"] for name in modalities if f"total/{name}" in values}
    known = sorted((name for name in totals if math.isfinite(totals[name])), key=lambda name: -totals[name])
    if not known:
        return "no share was measured"
    if totals[known[0]] <= 0:
        return "no modality is used: swapping it among examples changes nothing"
    of = "own answers'" if any(name.startswith("nats/") for name in values) else "outputs'"
    first = f"{known[0]} is used most: {_total(values, known[0])} of the {of} variance would be lost without it"
    rest = [f"{name} {_total(values, name)}" for name in known[1:NAMED]]
    rest += [f"{len(known) - NAMED} others less"] * (len(known) > NAMED)
    return "; ".join([first, *([", ".join(rest)] if rest else [])])


def _total(values: Mapping[str, float], name: str) -> str:
    return share_words(*_with_bounds(values, f"total/{name}"))


def _with_bounds(values: Mapping[str, float], name: str) -> tuple[float, float, float]:
    low, high = (values.get(bound_name(name, side), math.nan) for side in ("low", "high"))
    return values.get(name, math.nan), low, high


def share_card(values: Mapping[str, float], modalities: Sequence[str], head: str = "") -> Card:
    """Return the card of one measurement of one head."""
    lines = [] if "interaction" not in values else [_interaction_line(values)]
    frame = TidyRows(VALUE_COLUMNS, _value_rows(values, head))
    return Card(verdict_words(values, modalities), _bars(values, modalities), frame, [*lines, *further_lines(values)])


def _interaction_line(values: Mapping[str, float]) -> str:
    return f"{share_words(*_with_bounds(values, 'interaction'))} is explained only by the modalities together"


def _bars(values: Mapping[str, float], modalities: Sequence[str]) -> list[Diagram]:
    """Return bars of total effects and of contributions alone; for own answers, bars in nats first."""
    colours = dict(coloured(modalities))
    totals, alone, nats = (
        [
            Bar(name, *_with_bounds(values, f"{kind}/{name}"), colours[name])
            for name in modalities
            if f"{kind}/{name}" in values
        ]
        for kind in ("total", "contribution", "nats")
    )
    pairs = [key for key in values if key.startswith("interaction/")]
    alone += [Bar(key.partition("/")[2], *_with_bounds(values, key), INTERACTION) for key in pairs if len(pairs) > 1]
    alone += [Bar("interaction", *_with_bounds(values, "interaction"), INTERACTION)] * ("interaction" in values)
    found: list[Diagram] = [Bars("Nats a token that own answers lose when a modality is swapped", nats)] if nats else []
    found += [Bars("Lost without a modality (total effect, 95 %)", totals, percent=True)] if totals else []
    return found + ([Bars("Explained by each alone (95 %)", alone, percent=True)] if alone else [])


def _value_rows(values: Mapping[str, float], head: str) -> list[list[str | float]]:
    """Return a row for each value that is not a bound of another value."""
    bounds = {bound_of(name, side) for name in values for side in SIDES if side is not None}
    rows: list[list[str | float]] = []
    for name in values:
        if name not in bounds:
            kind, _, of = name.partition("/")
            low, high = (values.get(bound_of(name, side), math.nan) for side in SIDES if side is not None)
            rows.append([head, name, kind, of, values[name], low, high])
    return rows


def history_card(rows: Sequence[RunRecord], modalities: Sequence[str], head: str = "") -> Card:
    """Return the card of the runs of one head, oldest first."""
    measured = [row for row in rows if row.values]
    fitted = [row for row in measured if row.phase == "fit"]
    frame = TidyRows(
        RUN_COLUMNS,
        [[row.phase, row.epoch, row.step, *cells] for row in rows for cells in _value_rows(row.values, head)],
    )
    if not rows:
        return Card("no run of the monitor yet", frame=TidyRows(RUN_COLUMNS))
    header, *cells = history_cells(rows, modalities)
    notes = [f"{row.phase}, epoch {row.epoch}: {row.note}" for row in rows if row.note]
    last = measured[-1] if measured else None
    alarms = [] if last is None else _alarms(measured, modalities)
    verdict = "no run gave values" if last is None else f"{_when(last)}: {verdict_words(last.values, modalities)}"
    lines = [verdict] if alarms else []
    diagrams = _curves(fitted or measured, modalities) if measured else []
    table = TidyRows(header, cells)
    words = "; ".join(alarms) if alarms else verdict
    return Card(words, diagrams, frame, lines, notes, urgent=bool(alarms), table=table)


def _when(row: RunRecord) -> str:
    return f"epoch {row.epoch}" if row.phase == "fit" else row.phase


def _alarms(rows: Sequence[RunRecord], modalities: Sequence[str]) -> list[str]:
    """Return the modalities that are collapsed at the last run, and the start of each alarm."""
    found = []
    for name in modalities:
        states = [row.values.get(f"collapse/{name}") for row in rows]
        if states[-1] == State.COLLAPSED:
            used = [place for place, state in enumerate(states) if state != State.COLLAPSED]
            since = rows[used[-1] + 1 if used else 0]
            found.append(f"{name} is collapsed, alarm since {_when(since)} (step {since.step})")
    return found


def _curves(rows: Sequence[RunRecord], modalities: Sequence[str]) -> list[Diagram]:
    """Return curves of total effects with score and states, and curves of contributions alone."""
    rows = shown_runs(rows)
    places, axis = run_places(rows)
    known = {key for row in rows for key in row.values}
    totals = [_curve(rows, f"total/{name}", name, colour) for name, colour in coloured(modalities)]
    scores = [*(["score"] if "score" in known else []), *answer_keys(rows)]
    totals += [_curve(rows, key, _score_name(key), "") for key in scores]
    alone = [_curve(rows, f"contribution/{name}", f"{name} alone", colour) for name, colour in coloured(modalities)]
    alone += [_curve(rows, "interaction", "interaction", INTERACTION)]
    found = [Curves("Lost without a modality (total effect, bands: 95 %)", places, axis, _measured(totals))]
    if any(key.startswith("contribution/") for key in known):
        found.append(Curves("Explained by each alone (bands: 95 %)", places, axis, _measured(alone)))
    return [one for one in found if one.curves]


def _score_name(key: str) -> str:
    kind, _, of = key.partition("/")
    return f"{of} {kind}" if of else kind


def _measured(curves: Sequence[Curve]) -> list[Curve]:
    return [curve for curve in curves if not all(map(math.isnan, curve.values))]


def _curve(rows: Sequence[RunRecord], key: str, label: str, colour: str) -> Curve:
    low, high = (series_of(rows, bound_name(key, side)) for side in ("low", "high"))
    kind, _, name = key.partition("/")
    marks = _marks(rows, name) if kind == "total" else []
    return Curve(label, series_of(rows, key).astype(float), low.astype(float), high.astype(float), colour, marks)


def _marks(rows: Sequence[RunRecord], name: str) -> list[Mark]:
    """Return the runs at which a modality was not used."""
    states = [(place, row.values.get(f"collapse/{name}")) for place, row in enumerate(rows)]
    return [
        Mark(place, f"{name} {State(int(state)).name.lower()}", state == State.COLLAPSED)
        for place, state in states
        if state is not None and state in NOT_USED
    ]


def difference_words(value: float, low: float, high: float) -> str:
    """Return a difference of shares with its sign, in words."""
    sign = "+" if value > 0 else ""
    return sign + (share_words(value, low, high) if math.isfinite(value) else number_words(value))
