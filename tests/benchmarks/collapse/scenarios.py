"""Print what the rule says of data that it was not chosen on, run by run.

python tests/benchmarks/collapse/scenarios.py scenarios.jsonl --twins twins.jsonl
"""

import argparse
import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "examples")]

from comparison import by_old_rule
from confusion import RIGHT
from indicators import Record
from judging import by_rule, runs_of
from table import show

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.sinks.records import State

HEADER = [
    "data",
    "modalities",
    "recipe",
    "reliance",
    "without it",
    "truth",
    "the rule",
    "",
    "alarm",
    "the old rule",
    "",
]


def line(run: Record) -> list[str]:
    """Return a row: what was done, what is true, what was said, and the epoch of the first alarm."""
    weak, said = run["views"][-1], by_rule(CollapseRule())(run)
    last, worth = run["epochs"][-1]["truth"], run["worth"]
    rang = [epoch for epoch, state in enumerate(said) if state is State.COLLAPSED]
    first = str(run["epochs"][rang[0]]["epoch"]) if rang else "-"
    lost = f"{-worth['gain']:+.3f} +- {worth['error']:.3f}"
    old = by_old_rule(run)[-1]
    modalities = f"{', '.join(run['views'][:-1])}; {weak}"
    told = [run["task"], modalities, run["recipe"], f"{last['reliance'][weak]:.2f}", lost, run["outcome"]]
    return [*told, *_verdict(run, said[-1]), first, *_verdict(run, old)]


def _verdict(run: Record, state: State) -> list[str]:
    right = RIGHT.get(run["outcome"])
    return [state.name.lower(), "" if right is None else "right" if state in right else "WRONG"]


def main() -> None:
    """Print the table and its sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--twins", type=Path, default=Path("twins.jsonl"))
    arguments = parser.parse_args()
    runs = [run for run in runs_of([arguments.runs], arguments.twins) if run["part"] == "scenarios"]
    lines = [line(run) for run in runs]
    show([HEADER, *lines])
    judged = [found for found in lines if found[7]]
    for name, column in (("the rule", 7), ("the old rule", 10)):
        print(f"{name}: {sum(found[column] == 'right' for found in judged)} of {len(judged)} right")


if __name__ == "__main__":
    main()
