"""The states that the rule gives, beside what is true."""

from collections import Counter
from collections.abc import Callable, Sequence

from comparison import by_old_rule
from indicators import Record
from judging import by_rule, false_onsets, truths

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.sinks.records import State

OUTCOMES = ("used", "between", "misused", "unused", "redundant", "open", "leaked", "collapsed", "unlearned")
RIGHT = {
    "used": {State.USED},
    "unused": {State.UNUSED},
    "redundant": {State.REDUNDANT},
    "open": {State.REDUNDANT, State.COLLAPSED, State.UNUSED},
    "leaked": {State.REDUNDANT, State.COLLAPSED},
    "collapsed": {State.COLLAPSED},
}
"""Truth -> the states that are right; outcomes that are neither use nor collapse are not judged."""


def confusion(runs: Sequence[Record]) -> list[list[str]]:
    """Return a row for every truth of the weak modality at the end: how often each state was given, by both rules."""
    lines = [["truth", "runs", *(f"{state.name.lower()}" for state in State), "the old rule"]]
    for outcome in OUTCOMES:
        chosen = [run for run in runs if run["outcome"] == outcome]
        new = Counter(by_rule(CollapseRule())(run)[-1] for run in chosen)
        old = Counter(by_old_rule(run)[-1].name.lower() for run in chosen)
        told = ", ".join(f"{number} {name}" for name, number in old.items())
        lines.append([outcome, str(len(chosen)), *(str(new[state]) for state in State), told])
    return lines


def by_part(runs: Sequence[Record]) -> list[list[str]]:
    """Return how many runs of every part and task are right, of those that can be judged."""
    lines = [["part", "task", "right", "the old rule", "wrong: truth -> state"]]
    groups: dict[tuple[str, str], list[Record]] = {}
    for run in runs:
        if run["outcome"] in RIGHT:
            groups.setdefault((run["part"], run["task"]), []).append(run)
    for (part, task), found in groups.items():
        wrong = Counter(_fault(run) for run in found)
        old = sum(by_old_rule(run)[-1] in RIGHT[run["outcome"]] for run in found)
        told = ", ".join(f"{number} {name}" for name, number in wrong.items() if name)
        lines.append([part, task, f"{wrong['']}/{len(found)}", f"{old}/{len(found)}", told])
    return lines


def _fault(run: Record) -> str:
    """Return what is wrong at the end; nothing where the state is right."""
    said = by_rule(CollapseRule())(run)[-1]
    if said in RIGHT[run["outcome"]]:
        return ""
    return f"{run['recipe']} {run['outcome']} -> {said.name.lower()}"


def false_alarms(runs: Sequence[Record], states_of: Callable[[Record], dict[str, list[State]]]) -> tuple[int, int]:
    """Return how many runs whose modalities are all used ever had an alarm while that was so, and their number."""
    sound = [run for run in runs if all(truths(run, name)[-1] == "used" for name in run["views"])]
    rang = [any(any(false_onsets(said, truths(run, name))) for name, said in states_of(run).items()) for run in sound]
    return sum(rang), len(sound)


def on_the_way(runs: Sequence[Record], states_of: Callable[[Record], dict[str, list[State]]]) -> tuple[int, int]:
    """Return how many trainings that use all modalities in the end had an alarm before, and their number."""
    sound = [run for run in runs if all(truths(run, name)[-1] == "used" for name in run["views"])]
    return sum(any(State.COLLAPSED in said for said in states_of(run).values()) for run in sound), len(sound)
