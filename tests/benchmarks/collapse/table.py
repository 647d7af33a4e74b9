"""Print what the alarm and its rivals say of the runs that ``train.py`` has made.

python tests/benchmarks/collapse/table.py runs.jsonl
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parent))

import numpy as np
from recipes import SOFT
from scipy.stats import beta
from sklearn.metrics import roc_auc_score
from truth import state_at

from mviz_lightning.collapse import CollapseRule
from mviz_lightning.explainers.yardstick import Yardstick
from mviz_lightning.records import Row, State

Record = Mapping[str, Any]
Indicator = Callable[[Record, int, str], float | None]
"""Of a run, an epoch and a modality; low where the modality is not used."""

PATIENCE = 2
MIN_SKILL = 0.1


def rows_of(record: Record) -> list[Row]:
    """Return the monitor's history of a run."""
    return [Row("fit", found["epoch"], number, found["values"]) for number, found in enumerate(record["epochs"])]


def states(record: Record, rule: CollapseRule) -> dict[str, list[State]]:
    """Return what the rule says after every check."""
    rows, yardstick = rows_of(record), Yardstick.load(record["yardstick"])
    judged = [rule.judge(rows[: end + 1], yardstick, record["views"]) for end in range(len(rows))]
    return {name: [found[name].state for found in judged] for name in record["views"]}


def truths(record: Record, modality: str) -> list[str]:
    """Return what a modality really was at every check."""
    return [state_at(record, modality, epoch) for epoch in range(len(record["epochs"]))]


def value(name: str) -> Indicator:
    """Return one of the monitor's values as an indicator."""
    return lambda record, epoch, modality: record["epochs"][epoch]["values"].get(f"{name}/{modality}")


def skill_drop(record: Record, epoch: int, modality: str) -> float | None:
    """Return the skill lost when a modality is swapped."""
    chance, perfect = record["yardstick"]["chance"], record["yardstick"]["perfect"]
    return record["epochs"][epoch]["values"][f"perceptual/{modality}"] / (perfect - chance)


def gradient_ratio(record: Record, epoch: int, modality: str) -> float | None:
    """Return the modality's share of the encoders' gradient norms."""
    norms = record["epochs"][epoch]["signals"]["grad_norm"]
    return norms[modality] / max(1e-12, sum(norms.values()))


def update_ratio(record: Record, epoch: int, modality: str) -> float | None:
    """Return the modality's share of the encoders' relative updates."""
    norms = record["epochs"][epoch]["signals"]["update_norm"]
    return norms[modality] / max(1e-12, sum(norms.values())) if epoch else None


def discrepancy(record: Record, epoch: int, modality: str) -> float | None:
    """Return OGM-GE's ratio; a linear fusion alone has one."""
    return record["epochs"][epoch]["signals"]["ogm"]


def emap_gap(record: Record, epoch: int, modality: str) -> float | None:
    """Return the EMAP gap, which knows no modality."""
    return record["epochs"][epoch]["values"]["emap_gap"]


def from_peak(record: Record, epoch: int, modality: str) -> float | None:
    """Return how the score stands to its own best so far: validation accuracy alone."""
    scores = [found["truth"]["score"] for found in record["epochs"][: epoch + 1]]
    return scores[-1] - max(scores)


INDICATORS: dict[str, Indicator] = {
    "total effect, logits": value("total"),
    "total effect, decisions (flips)": value("flips"),
    "skill drop": skill_drop,
    "first-order share": value("contribution"),
    "EMAP gap": emap_gap,
    "gradient-norm share": gradient_ratio,
    "update-norm share": update_ratio,
    "OGM-GE discrepancy": discrepancy,
    "validation score, from its peak": from_peak,
}


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


def compare(runs: Sequence[Record]) -> list[list[str]]:
    """Compare indicators by thresholds that were fitted on the other families."""
    lines = []
    for name, indicator in INDICATORS.items():
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


def judged(runs: Sequence[Record], rule: CollapseRule, least: State) -> list[str]:
    """Return the cells of a rule; an alarm is a state of at least so much."""
    counts = Counter[str]()
    for run in runs:
        if run["outcome"] in ("collapsed", "healthy"):
            found = states(run, rule)[run["views"][-1]]
            count(counts, run, run["outcome"], [state >= least for state in found])
    return cells(counts)


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


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    runs = [json.loads(line) for line in parser.parse_args().runs.open()]
    for run in runs:
        run["outcome"] = state_at(run, run["views"][-1])
    main_part = [run for run in runs if run["part"] == "families"]
    rule = CollapseRule()
    print(f"families: {dict(Counter(run['outcome'] for run in main_part))}")
    header = ["indicator", "AUC", "thresholds", "recall", "soft alone", "false at the end", "false ever"]
    own = [["the rule", "", "", *judged(main_part, rule, State.COLLAPSED)]]
    show([header, *own, *compare(main_part)])
    late = delays(main_part, rule)
    print(f"checks from onset to alarm: median {median(late)}, largest {max(late)}")
    for part in ("extras", "healthy"):
        chosen = [run for run in runs if run["part"] == part]
        groups: dict[tuple[str, ...], Counter[str]] = {}
        for run in chosen:
            for name, said in states(run, rule).items():
                real = truths(run, name)
                false = any(s is State.COLLAPSED and t in ("healthy", "uninformative") for s, t in zip(said, real))
                weak = "weak" if name == run["views"][-1] else "others"
                key = (run["family"], run["task"], run["recipe"], weak, real[-1])
                counts = groups.setdefault(key, Counter())
                counts.update([said[-1].name.lower()])
                counts["false ever"] += false
        lines = [[*key, ", ".join(f"{n} {name}" for name, n in counts.items())] for key, counts in groups.items()]
        print(f"\n{part}")
        if lines:
            show(lines)
        if part == "healthy" and chosen:
            sound = [run for run in chosen if run["outcome"] == "healthy"]
            false = sum(
                any(s is State.COLLAPSED and t == "healthy" for s, t in zip(said, truths(run, name), strict=True))
                for run in sound
                for name, said in states(run, rule).items()
            )
            print(f"false alarms ever: {false} in {len(sound)} runs, at the most {bound(false, len(sound)):.4f} (95 %)")


if __name__ == "__main__":
    main()
