"""Alarms compared on the same runs: what each finds, and how often it is wrong, with thresholds of other families."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from statistics import median

import numpy as np
from indicators import Indicator, Record
from judging import PATIENCE, Alarm, by_rule, by_threshold, false_onsets, states, truths
from old_rule import old_states
from recipes import SOFT
from sklearn.metrics import roc_auc_score

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.sinks.records import State

HEADER = [
    "",
    "AUC",
    "thresholds",
    "collapsed",
    "soft alone",
    "leaked",
    "redundant",
    "unused",
    "used: end",
    "used: ever",
]
SILENCE = {"max_total": (0.03, 0.05, 0.08), "max_flips": (0.05, 0.1, 0.15), "max_drop": (0.03, 0.05, 0.08)}
GAINS = {"min_gain": (0.0025, 0.005, 0.01), "max_gain": (0.005, 0.01, 0.02), "min_alone": (0.005, 0.02, 0.05)}
"""Threshold of the rule -> the values to choose among, the default in the middle or first."""


def count(counts: Counter[str], run: Record, said: Sequence[State]) -> None:
    """Count a run: whether an alarm stands at the end, and whether it ever rang while the modality was used.

    Beside a leaked label, the notice that a modality is redundant counts, since it names the leak.
    """
    outcome, rings = run["outcome"], said[-1] is State.COLLAPSED
    counts[outcome] += 1
    counts[f"{outcome}!"] += rings or (outcome == "leaked" and said[-1] is State.REDUNDANT)
    if outcome == "collapsed" and run["recipe"] in SOFT:
        counts["soft"] += 1
        counts["soft!"] += rings
    if outcome == "used":
        counts["ever!"] += any(false_onsets(said, truths(run, run["views"][-1])))


def cells(counts: Counter[str]) -> list[str]:
    """Return the alarms at the end among the runs of every outcome, and those that ever rang falsely."""
    outcomes = ("collapsed", "soft", "leaked", "redundant", "unused", "used")
    return [*(f"{counts[f'{name}!']}/{counts[name]}" for name in outcomes), f"{counts['ever!']}/{counts['used']}"]


def tally(runs: Iterable[Record], alarm: Alarm) -> Counter[str]:
    """Count what an alarm says of runs."""
    counts = Counter[str]()
    for run in runs:
        count(counts, run, alarm(run))
    return counts


def by_old_rule(record: Record) -> Sequence[State]:
    """Return the old rule as an alarm on the weak modality."""
    return old_states(record)[record["views"][-1]]


def faults(counts: Counter[str]) -> float:
    """Return misses and false alarms, each kind as a share of the runs at which it can happen."""
    missed = 1 - counts["collapsed!"] / max(1, counts["collapsed"])
    false = (counts["used!"] + counts["ever!"]) / max(1, counts["used"])
    return (
        missed
        + false
        + counts["redundant!"] / max(1, counts["redundant"])
        + counts["unused!"] / max(1, counts["unused"])
    )


def elsewhere(runs: Sequence[Record], grid: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the cells of the rule with some thresholds chosen on the other families, and which those were."""
    counts, chosen = Counter[str](), []
    rules = [CollapseRule(**dict(zip(grid, values, strict=True))) for values in product(*grid.values())]
    tried = [(rule, [tally([run], by_rule(rule)) for run in runs]) for rule in rules]
    for family in sorted({run["family"] for run in runs}):
        inside = [number for number, run in enumerate(runs) if run["family"] == family]
        outside = [number for number, run in enumerate(runs) if run["family"] != family]
        rule, found = min(tried, key=lambda one: (faults(_sum(one[1][k] for k in outside)), changed(one[0], grid)))
        chosen.append("/".join(f"{getattr(rule, name):g}" for name in grid))
        counts += _sum(found[k] for k in inside)
    return [", ".join(dict.fromkeys(chosen)), *cells(counts)]


def _sum(found: Iterable[Counter[str]]) -> Counter[str]:
    total = Counter[str]()
    for one in found:
        total.update(one)
    return total


def changed(rule: CollapseRule, grid: Mapping[str, Sequence[float]]) -> int:
    """Return how many thresholds are not the default."""
    return sum(getattr(rule, name) != getattr(CollapseRule(), name) for name in grid)


def latest(record: Record, indicator: Indicator) -> float | None:
    """Return the largest of the last checks: all of them must lie below a threshold for an alarm."""
    last = range(len(record["epochs"]) - PATIENCE, len(record["epochs"]))
    found = [indicator(record, epoch, record["views"][-1]) for epoch in last]
    return None if None in found else max(found)  # type: ignore[type-var]


def fitted(collapsed: Sequence[float], used: Sequence[float]) -> float:
    """Return the threshold with the fewest errors, both kinds alike; in the middle of the gap."""
    points = np.unique([*collapsed, *used])
    middles = np.concatenate([[points[0] - 1e-9], (points[1:] + points[:-1]) / 2, [points[-1] + 1e-9]])
    low, high = np.array(collapsed), np.array(used)
    errors = [(low >= t).mean() + (high < t).mean() for t in middles]
    best = np.flatnonzero(np.isclose(errors, min(errors)))
    return float(middles[best[len(best) // 2]])


def rival(runs: Sequence[Record], name: str, indicator: Indicator) -> list[str]:
    """Return the cells of an indicator, with thresholds that were fitted on the other families."""
    known = [(run, latest(run, indicator)) for run in runs]
    known = [found for found in known if found[1] is not None]
    sides = {side: [found for found in known if found[0]["outcome"] == side] for side in ("collapsed", "used")}
    flags = [side == "collapsed" for side, found in sides.items() for _ in found]
    area = roc_auc_score(flags, [-read for found in sides.values() for _, read in found])  # type: ignore[operator]
    counts, thresholds = Counter[str](), []
    for family in sorted({run["family"] for run in runs}):
        others = ([read for run, read in found if run["family"] != family] for found in sides.values())
        thresholds.append(fitted(*others))  # type: ignore[arg-type]
        inside = (run for run, _ in known if run["family"] == family)
        counts.update(tally(inside, by_threshold(indicator, thresholds[-1])))
    return [name, f"{area:.4f}", f"{min(thresholds):.3f}-{max(thresholds):.3f}", *cells(counts)]


def unlabelled(record: Record) -> Record:
    """Return a run as a monitor without labels would have seen it."""
    seen = [
        {
            **found,
            "evidence": {},
            "values": {k: v for k, v in found["values"].items() if k.startswith(("total", "flips/"))},
        }
        for found in record["epochs"]
    ]
    return {**record, "yardstick": {"chance": None, "perfect": None, "alone": {}, "beyond": {}}, "epochs": seen}


def without_labels(record: Record) -> list[State]:
    """Return the rule as an alarm where no labels are known: whatever is not used."""
    found = states(unlabelled(record), CollapseRule())[record["views"][-1]]
    return [State.COLLAPSED if state else State.USED for state in found]


def comparison(runs: Sequence[Record], rivals: Mapping[str, Indicator]) -> list[list[str]]:
    """Compare the rule, the old rule and the rivals."""
    rule = CollapseRule()
    fixed: dict[str, Alarm] = {
        "the rule": by_rule(rule),
        "the rule without flips": by_rule(replace(rule, max_flips=0.0)),
        "the rule without labels": without_labels,
        "the old rule": by_old_rule,
    }
    lines = [[name, "", "", *cells(tally(runs, alarm))] for name, alarm in fixed.items()]
    for name, grid in (("totals, flips, drops", SILENCE), ("gains", GAINS)):
        lines.insert(1, [f"the rule, {name} of other families", "", *elsewhere(runs, grid)])
    return [HEADER, *lines, *(rival(runs, name, indicator) for name, indicator in rivals.items())]


def delays(runs: Sequence[Record]) -> str:
    """Tell the checks from the first of those at which a modality was collapsed till the end to the alarm."""
    found = []
    for run in (run for run in runs if run["outcome"] == "collapsed"):
        real, said = truths(run, run["views"][-1]), by_rule(CollapseRule())(run)
        before = [epoch for epoch, state in enumerate(real) if state not in ("collapsed", "between")]
        onset = max(before, default=-1) + 1
        rang = [epoch for epoch, state in enumerate(said) if state is State.COLLAPSED and epoch >= onset]
        if rang:
            found.append(rang[0] - onset)
    return f"checks from onset to alarm: median {median(found)}, largest {max(found)}, of {len(found)} alarms"
