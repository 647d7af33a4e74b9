"""What an alarm says of a run, check by check, and what is true, as ``train.py`` and ``twins.py`` have written it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from indicators import Indicator, Record
from runs import read
from truth import state_at
from twins import world

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.sinks.records import RunRecord, State

PATIENCE = 2
MIN_SKILL = 0.1

Alarm = Callable[[Record], Sequence[State]]
"""Of a run: the state of the weak modality after every check."""


def runs_of(paths: Sequence[Path], twins: Path) -> list[dict[str, Any]]:
    """Return runs with what the weak modality is worth to a healthy twin, and with what it really is in the end."""
    worth = {_name(twin): twin for twin in read(twins)}
    runs = [run for path in paths for run in read(path)]
    for run in runs:
        run["worth"] = worth.get(_name(run))
        run["outcome"] = state_at(run, run["views"][-1])
    return runs


def _name(record: Mapping[str, Any]) -> str:
    return str(sorted(world(record).items(), key=lambda item: item[0]))


def rows_of(record: Record) -> list[RunRecord]:
    """Return the monitor's history of a run."""
    return [
        RunRecord("fit", found["epoch"], number, found["values"], evidence=found["evidence"])
        for number, found in enumerate(record["epochs"])
    ]


def states(record: Record, rule: CollapseRule) -> dict[str, list[State]]:
    """Return what the rule says after every check."""
    rows, score_reference = rows_of(record), ScoreReference.load(record["yardstick"])
    judged = [rule.judge(rows[: end + 1], score_reference, record["views"]) for end in range(len(rows))]
    return {name: [found[name].state for found in judged] for name in record["views"]}


def by_rule(rule: CollapseRule) -> Alarm:
    """Return the rule as an alarm on the weak modality."""
    return lambda record: states(record, rule)[record["views"][-1]]


def by_threshold(indicator: Indicator, threshold: float) -> Alarm:
    """Return an indicator as an alarm: below a threshold for ``PATIENCE`` checks that count."""

    def alarm(record: Record) -> list[State]:
        below, found = 0, []
        for epoch in range(len(record["epochs"])):
            read_now = indicator(record, epoch, record["views"][-1])
            if learned(record, epoch) and read_now is not None:
                below = below + 1 if read_now < threshold else 0
            found.append(State.COLLAPSED if below >= PATIENCE else State.USED)
        return found

    return alarm


def learned(record: Record, epoch: int) -> bool:
    """Tell whether a model has learned, by an absolute gate."""
    chance, perfect = record["yardstick"]["chance"], record["yardstick"]["perfect"]
    return (record["epochs"][epoch]["values"]["score"] - chance) / (perfect - chance) > MIN_SKILL


def truths(record: Record, modality: str) -> list[str]:
    """Return what a modality really was at every check."""
    return [state_at(record, modality, epoch) for epoch in range(len(record["epochs"]))]


def false_onsets(said: Sequence[State], real: Sequence[str]) -> list[bool]:
    """Return at which checks an alarm began to ring for a modality that was used, or that has nothing to tell."""
    rings = [state is State.COLLAPSED for state in said]
    began = [now and not before for before, now in zip([False, *rings], rings, strict=False)]
    return [rang and state in ("used", "unused") for rang, state in zip(began, real, strict=True)]
