"""Print what the alarm and its rivals say of the runs that ``train.py`` has made.

python tests/benchmarks/collapse/table.py runs.jsonl
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parent))

import numpy as np
from indicators import INDICATORS, Indicator, Record, with_twins
from recipes import PARTS, SOFT
from runs import read
from scipy.stats import beta
from sklearn.metrics import roc_auc_score
from truth import state_at

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.sinks.records import RunRecord, State

PATIENCE = 2
MIN_SKILL = 0.1


def rows_of(record: Record) -> list[RunRecord]:
    """Return the monitor's history of a run."""
    return [RunRecord("fit", found["epoch"], number, found["values"]) for number, found in enumerate(record["epochs"])]


def states(record: Record, rule: CollapseRule) -> dict[str, list[State]]:
    """Return what the rule says after every check."""
    rows, score_reference = rows_of(record), ScoreReference.load(record["yardstick"])
    judged = [rule.judge(rows[: end + 1], score_reference, record["views"]) for end in range(len(rows))]
    return {name: [found[name].state for found in judged] for name in record["views"]}


def truths(record: Record, modality: str) -> list[str]:
    """Return what a modality really was at every check."""
    return [state_at(record, modality, epoch) for epoch in range(len(record["epochs"]))]


def learned(record: Record, epoch: int) -> bool:
    """Tell whether a model has learned."""
    chance, perfect = record["yardstick"]["chance"], record["yardstick"]["perfect"]
    return (record["epochs"][epoch]["values"]["score"] - chance) / (perfect - chance) > MIN_SKILL


def latest(record: Record, indicator: Indicator) -> float | None:
    """Return the largest of the last checks: all of them must lie below a threshold for an alarm."""
    last = range(len(record["epochs"]) - PATIENCE, len(record["epochs"]))
    found = [indicator(record, epoch, record["views"][-1]) for epoch in last]
    return None if None in found else max(found)  # type: ignore[type-var]


def alarmed(record: Record, indicator: Indicator, threshold: float) -> list[bool]:
    """Return after which checks an indicator has been below a threshold for ``PATIENCE`` checks that count."""
    below, found = 0, []
    for epoch in range(len(record["epochs"])):
        read = indicator(record, epoch, record["views"][-1])
        if learned(record, epoch) and read is not None:
            below = below + 1 if read < threshold else 0
        found.append(below >= PATIENCE)
    return found


def fitted(collapsed: Sequence[float], healthy: Sequence[float]) -> float:
    """Return the threshold with the fewest errors, both kinds alike; in the middle of the gap."""
    points = np.unique([*collapsed, *healthy])
    middles = np.concatenate([[points[0] - 1e-9], (points[1:] + points[:-1]) / 2, [points[-1] + 1e-9]])
    low, high = np.array(collapsed), np.array(healthy)
    errors = [(low >= t).mean() + (high < t).mean() for t in middles]
    best = np.flatnonzero(np.isclose(errors, min(errors)))
    return float(middles[best[len(best) // 2]])


def compare(runs: Sequence[Record], rivals: Mapping[str, Indicator]) -> list[list[str]]:
    """Compare indicators by thresholds that were fitted on the other families."""
    lines = []
    for name, indicator in rivals.items():
        known = [(run, run["outcome"], latest(run, indicator)) for run in runs]
        known = [found for found in known if found[2] is not None and found[1] in ("collapsed", "healthy")]
        flags = [outcome == "collapsed" for _, outcome, _ in known]
        area = roc_auc_score(flags, [-read for *_, read in known])  # type: ignore[operator]
        counts, thresholds = Counter[str](), []
        for family in sorted({run["family"] for run in runs}):
            others = [found for found in known if found[0]["family"] != family]
            threshold = fitted(*([read for _, o, read in others if o == wanted] for wanted in ("collapsed", "healthy")))
            thresholds.append(threshold)
            for run, outcome, _ in known:
                if run["family"] == family:
                    count(counts, run, outcome, alarmed(run, indicator, threshold))
        span = f"{min(thresholds):.3f}-{max(thresholds):.3f}"
        lines.append([name, f"{area:.4f}", span, *cells(counts)])
    return lines


def count(counts: Counter[str], run: Record, outcome: str, alarms: Sequence[bool]) -> None:
    """Count a run: whether the alarm stands at the end, and whether it ever rang while the modality was used."""
    counts[outcome] += 1
    counts[f"{outcome} alarmed"] += alarms[-1]
    if outcome == "collapsed" and run["recipe"] in SOFT:
        counts["soft"] += 1
        counts["soft alarmed"] += alarms[-1]
    if outcome == "healthy":
        real = truths(run, run["views"][-1])
        counts["ever"] += any(false_onsets(alarms, real))


def false_onsets(alarms: Sequence[bool], real: Sequence[str]) -> list[bool]:
    """Return at which checks an alarm began to ring for a modality that was used, or that has nothing to tell."""
    began = [now and not before for before, now in zip([False, *alarms], alarms, strict=False)]
    return [rang and state in ("healthy", "uninformative") for rang, state in zip(began, real, strict=True)]


def cells(counts: Counter[str]) -> list[str]:
    """Return recall, recall of soft collapses, false alarms at the end and ever."""
    pairs = [("collapsed alarmed", "collapsed"), ("soft alarmed", "soft"), ("healthy alarmed", "healthy")]
    return [*(f"{counts[a]}/{counts[b]}" for a, b in pairs), f"{counts['ever']}/{counts['healthy']}"]


def delays(runs: Sequence[Record], rule: CollapseRule) -> list[int]:
    """Return checks from the first of those at which a modality was collapsed till the end to the alarm."""
    found = []
    for run in runs:
        if run["outcome"] != "collapsed":
            continue
        real, said = truths(run, run["views"][-1]), states(run, rule)[run["views"][-1]]
        onset = (
            max((epoch for epoch, state in enumerate(real) if state not in ("collapsed", "between")), default=-1) + 1
        )
        rang = [epoch for epoch, state in enumerate(said) if state is State.COLLAPSED and epoch >= onset]
        if rang:
            found.append(rang[0] - onset)
    return found


def bound(false: int, runs: int) -> float:
    """Return the upper end of Clopper and Pearson's one-sided 95 % interval."""
    return 1.0 if false == runs else float(beta.ppf(0.95, false + 1, runs - false))


def show(lines: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


GRID = {"max_total": (0.03, 0.05, 0.08), "max_flips": (0.05, 0.1, 0.15), "max_drop": (0.03, 0.05, 0.08)}


def elsewhere(runs: Sequence[Record]) -> list[str]:
    """Return the cells of the rule with thresholds that were chosen on the other families."""
    counts, chosen = Counter[str](), []
    rules = [CollapseRule(**dict(zip(GRID, values, strict=True))) for values in product(*GRID.values())]
    tried = [(rule, [tally([run], rule, State.COLLAPSED) for run in runs]) for rule in rules]
    for family in sorted({run["family"] for run in runs}):
        others = [number for number, run in enumerate(runs) if run["family"] != family]
        faults = [errors(sum((found[number] for number in others), Counter())) for _, found in tried]
        best = [number for number, fault in enumerate(faults) if fault == min(faults)]
        rule, found = tried[min(best, key=lambda number: off_centre(rules[number]))]
        chosen.append("/".join(f"{getattr(rule, name):g}" for name in GRID))
        counts += sum((tallied for tallied, run in zip(found, runs, strict=True) if run["family"] == family), Counter())
    return [", ".join(dict.fromkeys(chosen)), *cells(counts)]


def errors(counts: Counter[str]) -> float:
    """Return misses and false alarms, both kinds alike."""
    missed = 1 - counts["collapsed alarmed"] / max(1, counts["collapsed"])
    return missed + (counts["healthy alarmed"] + counts["ever"]) / max(1, counts["healthy"])


def off_centre(rule: CollapseRule) -> int:
    """Return how far thresholds lie from the middle of the grid."""
    return sum(getattr(rule, name) != values[len(values) // 2] for name, values in GRID.items())


def tally(runs: Sequence[Record], rule: CollapseRule, least: State) -> Counter[str]:
    """Count what a rule says; an alarm is a state of at least so much."""
    counts = Counter[str]()
    for run in runs:
        if run["outcome"] in ("collapsed", "healthy"):
            found = states(run, rule)[run["views"][-1]]
            count(counts, run, run["outcome"], [state >= least for state in found])
    return counts


def unlabelled(runs: Sequence[Record]) -> list[Record]:
    """Return runs as a monitor without labels would have seen them."""
    kept = ("total/", "flips/")
    blind = {"chance": None, "perfect": None, "alone": {}}
    return [
        {
            **run,
            "yardstick": blind,
            "epochs": [
                {**found, "values": {k: v for k, v in found["values"].items() if k.startswith(kept)}}
                for found in run["epochs"]
            ],
        }
        for run in runs
    ]


def compare_all(runs: Sequence[Record], everything: Sequence[Record]) -> None:
    """Print the rule and its rivals on three families of tasks."""
    rule, header = CollapseRule(), ["", "AUC", "thresholds", "recall", "soft alone", "false at the end", "false ever"]
    defaults = "/".join(f"{getattr(rule, name):g}" for name in GRID)
    totals = replace(rule, max_flips=0.0)
    lines = [
        ["the rule", "", defaults, *cells(tally(runs, rule, State.COLLAPSED))],
        ["the rule, thresholds of other families", "", *elsewhere(runs)],
        ["the rule without flips", "", "", *cells(tally(runs, totals, State.COLLAPSED))],
        ["the rule without labels", "", "", *cells(tally(unlabelled(runs), rule, State.UNUSED))],
    ]
    rivals = INDICATORS | {"validation score, against healthy twins": with_twins([*runs, *everything])}
    show([header, *lines, *compare(runs, rivals)])
    late = delays(runs, rule)
    print(f"checks from onset to alarm: median {median(late)}, largest {max(late)}, of {len(late)} alarms")


def by_kind(runs: Sequence[Record], rule: CollapseRule) -> None:
    """Print what the rule says at the end, by task, recipe and what is true."""
    groups: dict[tuple[str, ...], Counter[str]] = {}
    for run in runs:
        for name, said in states(run, rule).items():
            real = truths(run, name)
            role = "weak" if name == run["views"][-1] else "others"
            key = (run["family"], run["task"], run["recipe"], role, real[-1])
            counts = groups.setdefault(key, Counter())
            counts[said[-1].name.lower()] += 1
            counts["false alarms"] += any(false_onsets([state is State.COLLAPSED for state in said], real))
    header = ["family", "task", "recipe", "modality", "truth", "the rule says"]
    told = [[*key, ", ".join(f"{n} {name}" for name, n in counts.items() if n)] for key, counts in groups.items()]
    show([header, *told])


def false_alarms(runs: Sequence[Record], rule: CollapseRule) -> None:
    """Print how many healthy runs ever had an alarm on a modality that was used at that time."""
    sound = [run for run in runs if all(state_at(run, name) == "healthy" for name in run["views"])]
    false = sum(
        any(
            any(false_onsets([state is State.COLLAPSED for state in said], truths(run, name)))
            for name, said in states(run, rule).items()
        )
        for run in sound
    )
    print(f"false alarms ever: {false} of {len(sound)} healthy runs; at the most {bound(false, len(sound)):.4f} (95 %)")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    runs = list(read(parser.parse_args().runs))
    for run in runs:
        run["outcome"] = state_at(run, run["views"][-1])
    parts = {part: [run for run in runs if run["part"] == part] for part in PARTS}
    for part, chosen in parts.items():
        print(
            f"{part}: {len(chosen)} runs, {dict(Counter(run['outcome'] for run in chosen))}, "
            f"{sum(run['seconds'] for run in chosen) / 60:.0f} minutes on one core"
        )
    for part in ("families", "graded"):
        print(f"\n{part}")
        compare_all(parts[part], parts["families"] + parts["healthy"])
    print("\nextras")
    by_kind(parts["extras"], CollapseRule())
    print()
    false_alarms(parts["healthy"], CollapseRule())


if __name__ == "__main__":
    main()
