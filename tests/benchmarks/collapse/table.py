"""Print what the alarm and its rivals say of the runs that ``train.py`` has made.

python tests/benchmarks/collapse/table.py runs.jsonl --twins twins.jsonl
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "examples")]

from comparison import comparison, delays
from confusion import by_part, confusion, false_alarms, on_the_way
from indicators import INDICATORS, Record, with_twins
from judging import runs_of, states
from old_rule import old_states
from scipy.stats import beta

from mviz_lightning.collapse.rule import CollapseRule


def bound(false: int, runs: int) -> float:
    """Return the upper end of Clopper and Pearson's one-sided 95 % interval."""
    return 1.0 if false == runs else float(beta.ppf(0.95, false + 1, runs - false))


def show(lines: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def sizes(runs: Sequence[Record]) -> None:
    """Print how many runs there are of every part."""
    for part in dict.fromkeys(run["part"] for run in runs):
        chosen = [run for run in runs if run["part"] == part]
        minutes = sum(run["seconds"] for run in chosen) / 60
        outcomes = dict(Counter(run["outcome"] for run in chosen))
        print(f"{part}: {len(chosen)} runs, {outcomes}, {minutes:.0f} minutes on one core")


def sound(runs: Sequence[Record]) -> None:
    """Print how many trainings without a fault had an alarm, by both rules."""
    healthy, slow = ([run for run in runs if run["part"] == part] for part in ("healthy", "slow"))
    rules = {"the rule": lambda run: states(run, CollapseRule()), "the old rule": old_states}
    for name, states_of in rules.items():
        for label, chosen in (("all parts", runs), ("healthy", healthy)):
            false, count = false_alarms(chosen, states_of)
            share = f"{false} of {count} healthy runs (95 %: at the most {bound(false, count):.4f})"
            print(f"{name}, {label}: false alarms ever in {share}")
        early, count = on_the_way(slow, states_of)
        print(f"{name}: {early} of {count} slow starters called collapsed before they use everything")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--twins", type=Path, default=Path("twins.jsonl"))
    arguments = parser.parse_args()
    runs = runs_of(arguments.runs, arguments.twins)
    sizes(runs)
    tested = [run for run in runs if run["part"] != "healthy"]
    rivals = INDICATORS | {"validation score, against healthy twins": with_twins(runs)}
    print("\nalarms at the end, by what is true; thresholds of rivals from other families")
    show(comparison(tested, rivals))
    print(delays(tested))
    print("\nstates at the end")
    show(confusion(tested))
    print()
    show(by_part(runs))
    print()
    sound(runs)


if __name__ == "__main__":
    main()
