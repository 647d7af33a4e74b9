"""Print what the monitor finds of modules in many styles with ``modalities=`` alone, and whether it is right.

    PYTHONPATH=tests python tests/benchmarks/observation/table.py [--only WORD] [--told] [--paste] [--json FILE]

Every module is trained for an epoch. At each validation, rows recombined from the whole probe are compared with scores
written by hand, the labels with those of the loss, and the task. A module that may be asked for or refused counts as
such; what ran and differs is silently wrong. A mark ``!`` stands before what is not allowed.
"""

import argparse
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from benchmarks.observation.case import Outcome, Verdict
from benchmarks.observation.found import WAYS
from benchmarks.observation.harness import run, run_told
from benchmarks.observation.pasting import run_pasted
from benchmarks.observation.zoo import hub_cases, own_cases

VERDICTS = get_args(Verdict)
WIDTH = 110


def line(outcome: Outcome) -> str:
    """Return a case's row of the table."""
    case = outcome.case
    told = f"{outcome.code} -> {outcome.task}" if outcome.code else ""
    said = ": ".join(filter(None, [told, outcome.why])).replace("\n", " ")
    mark = " " if outcome.allowed else "!"
    return f"{mark} {case.style:<12.12} {case.name:<36.36} {outcome.verdict:<10} {outcome.way:<10} {said[:WIDTH]}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return a row for each family and one for all: how many were right, asked and so on, and by which way."""
    families = dict.fromkeys(outcome.case.style for outcome in outcomes)
    columns = (*VERDICTS, *WAYS.values(), "guessed")
    rows = [f"{'family':<14}{'cases':>6}" + "".join(f"{column:>12}" for column in columns) + f"{'right %':>9}"]
    for family in [*families, "all"] if outcomes else []:
        some = [outcome for outcome in outcomes if family in (outcome.case.style, "all")]
        count = Counter(value for outcome in some for value in (outcome.verdict, outcome.way))
        cells = "".join(f"{count[column]:>12}" for column in columns)
        rows.append(f"{family:<14}{len(some):>6}{cells}{count['right'] / len(some):>9.0%}")
    return "\n".join(rows)


def pasted(outcome: Outcome) -> str:
    """Return in words what became of a case with what its message offers to paste."""
    again = run_pasted(outcome)
    return "nothing is offered" if again is None else f"{again.verdict} {again.why}"


def record(outcome: Outcome) -> dict[str, str]:
    """Return an outcome in plain types."""
    case = outcome.case
    kept = ("verdict", "why", "way", "task", "code", "message")
    return {"name": case.name, "style": case.style, "expect": case.expect} | {
        key: getattr(outcome, key) for key in kept
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run the cases whose style or name contains this")
    parser.add_argument("--told", action="store_true", help="tell the monitor scores and task, to check the cases")
    parser.add_argument("--paste", action="store_true", help="run asked cases again with what the message offers")
    parser.add_argument("--json", type=Path, help="write a line of JSON for each case to this file")
    chosen = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    outcomes = []
    for case in (*own_cases(), *hub_cases()):
        if chosen.only in case.style or chosen.only in case.name:
            outcomes.append(run_told(case) if chosen.told else run(case))
            print(line(outcomes[-1]), flush=True)
            if chosen.paste and outcomes[-1].message:
                print(f"  {'':<50}pasted: {pasted(outcomes[-1])}", flush=True)
    print(f"\n{summary(outcomes)}")
    if chosen.json is not None:
        chosen.json.write_text("".join(json.dumps(record(outcome)) + "\n" for outcome in outcomes))


if __name__ == "__main__":
    main()
