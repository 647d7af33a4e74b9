"""Print what each action at an alarm is worth, against doing nothing and against a healthy twin.

    python tests/benchmarks/collapse/worth.py

Settings are chosen on some tasks and seeds, by the mean score at the end, at equal scores (two digits) by the weak
modality's reliance, and reported on others. The healthy twin is the same training without what takes the modality away.
A stopped training costs no further epochs.
"""

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "examples")]

import torch
from recipes import RunSpec
from table import show
from train import train

from mviz_lightning import UnimodalCollapse
from mviz_lightning.actions import EncoderLearningRate, GradientModulation, ModalityDropout
from mviz_lightning.sinks.records import State

RECIPES = (("lr", 0.003), ("late", 0.5), ("decay", 0.1), ("loud", 1.0))
"""The modality learns slowly, joins at half time, decays, or is made superfluous by a leaked label."""

CHOSEN_ON, REPORTED_ON = (("fou", "kar"), ("kar", "zer")), (("fou", "mor"), ("fac", "fou"), ("zer", "fac"))
"""Pairs of views of the same digits, the weak one last."""

ACTIONS: dict[str, Sequence[Any]] = {
    "left alone": ["warn"],
    "StopTraining": ["stop"],
    "ModalityDropout": [ModalityDropout(p) for p in (0.25, 0.5)],
    "EncoderLearningRate": [EncoderLearningRate(factor, others) for factor, others in ((10, 1), (100, 1), (10, 0.1))],
    "GradientModulation": [GradientModulation(alpha) for alpha in (0.1, 0.4)],
    "dropout and rate": [[ModalityDropout(0.5), EncoderLearningRate(10)]],
}
"""What is compared, each in several settings."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        score: Accuracy on the validation examples.
        reliance: Share of the skill that swapping the weak modality costs.
        epochs: Epochs trained.
        alarms: Number of times an alarm began.
        recovered: Checks from the first alarm to its end; None if it did not end, or none began.
    """

    score: float
    reliance: float
    epochs: int
    alarms: int
    recovered: int | None


def outcomes(spec: RunSpec, actions: Sequence[Any]) -> list[Outcome]:
    """Train once for each action; a training without an alarm is the same whatever would be done at it."""
    alone = outcome(spec, "warn")
    return [alone if action == "warn" or not alone.alarms else outcome(spec, action) for action in actions]


def outcome(spec: RunSpec, action: Any) -> Outcome:
    """Train once."""
    record = train(spec, partial(_alarm, action, spec.views))
    states = [epoch["values"].get(f"collapse/{spec.weak}", 0) for epoch in record["epochs"]]
    collapsed = [state == State.COLLAPSED for state in states]
    begins = [now and not before for before, now in zip([False, *collapsed], collapsed, strict=False)]
    after = collapsed[begins.index(True) :] if any(begins) else []
    last = record["epochs"][-1]["truth"]
    recovered = after.index(False) if False in after else None
    found = Outcome(last["score"], last["reliance"][spec.weak], len(states), sum(begins), recovered)
    print(f"{spec.recipe}, {'+'.join(spec.views)}, {described(action)}: {found}", file=sys.stderr, flush=True)
    return found


def _alarm(action: Any, views: Sequence[str]) -> list[UnimodalCollapse]:
    return [UnimodalCollapse(action, expected=views)]  # a leak makes the weak one redundant otherwise


def specs(pairs: Sequence[tuple[str, str]], seeds: range, epochs: int) -> list[RunSpec]:
    """Return a training for every recipe and seed, on a pair in turn."""
    return [
        RunSpec("worth", "mfeat", pairs[(number + seed) % len(pairs)], recipe, strength, seed=seed, epochs=epochs)
        for number, (recipe, strength) in enumerate(RECIPES)
        for seed in seeds
    ]


def pictures_and_sounds(seeds: range, epochs: int) -> list[RunSpec]:
    """Return trainings on written digits under noise and spoken ones."""
    return [RunSpec("worth", "av", ("mel", "image"), "lr", 0.1, seed=seed, epochs=epochs) for seed in seeds]


def described(action: Any) -> str:
    """Return an action with its settings."""
    if isinstance(action, str):
        return action
    if isinstance(action, list):
        return ", ".join(map(described, action))
    given = {name: value for name, value in vars(action).items() if isinstance(value, float)}
    return f"{type(action).__name__}({', '.join(f'{name}={value:g}' for name, value in given.items())})"


def chosen(runs: Sequence[RunSpec]) -> dict[str, Any]:
    """Return each action in its best setting."""
    open_ones = [action for settings in ACTIONS.values() if len(settings) > 1 for action in settings]
    found = [outcomes(spec, open_ones) for spec in runs]
    ranks: dict[int, tuple[float, float]] = {}
    for place, action in enumerate(open_ones):
        score, reliance = (mean(getattr(run[place], what) for run in found) for what in ("score", "reliance"))
        print(f"{described(action)}: score {score:.3f}, reliance {reliance:.2f}", flush=True)
        ranks[id(action)] = round(score, 2), reliance
    return {
        name: max(settings, key=lambda action: ranks.get(id(action), (0.0, 0.0))) for name, settings in ACTIONS.items()
    }


def report(runs: Sequence[RunSpec], actions: dict[str, Any]) -> None:
    """Print a table over all runs, and one of the scores by recipe."""
    twins = [outcome(replace(spec, recipe="plain", strength=0.0), "warn") for spec in runs]
    ends = [outcomes(spec, list(actions.values())) for spec in runs]
    found = {name: [run[place] for run in ends] for place, name in enumerate(actions)} | {"healthy twin": twins}
    lines = [["action", "score", "reliance", "used at the end", "epochs to the end of the alarm", "epochs"]]
    for name, ends in found.items():
        used = f"{sum(end.reliance > 0.1 for end in ends)} of {len(ends)}"
        waited = [end.recovered for end in ends if end.recovered is not None]
        ended = f"{median(waited):g} ({len(waited)} of {sum(end.alarms > 0 for end in ends)})" if waited else "-"
        columns = f"{mean(end.score for end in ends):.3f}", f"{mean(end.reliance for end in ends):.2f}"
        lines.append([name, *columns, used, ended, f"{mean(end.epochs for end in ends):.1f}"])
    show(lines)
    print(flush=True)
    kinds = list(dict.fromkeys((spec.recipe, spec.strength) for spec in runs))
    lines = [["score, reliance", *(f"{recipe} {strength:g}" for recipe, strength in kinds)]]
    for name, ends in found.items():
        cells = []
        for recipe, _ in kinds:
            those = [end for spec, end in zip(runs, ends, strict=True) if spec.recipe == recipe]
            cells.append(f"{mean(end.score for end in those):.3f}, {mean(end.reliance for end in those):.2f}")
        lines.append([name, *cells])
    show(lines)


def main() -> None:
    """Choose the settings, and report on other tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each recipe that are reported")
    parser.add_argument("--epochs", type=int, default=14)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    actions = chosen(specs(CHOSEN_ON, range(100, 101), arguments.epochs)[:-1])  # a leak leaves nothing to gain
    for name, action in actions.items():
        print(f"{name}: {described(action)}")
    for title, make in (
        ("Two views of digits", partial(specs, REPORTED_ON)),
        ("Pictures and sounds", pictures_and_sounds),
    ):
        print(f"\n{title}")
        report(make(range(arguments.seeds), arguments.epochs), actions)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
