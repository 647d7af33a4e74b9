"""Folders of runs, as the monitor keeps them, drawn from a seed without any training.

    python tests/helpers/stored_runs.py FOLDER --epochs 12 --alarm

A plain run has an image and a text of drawn shapes; weights are large where the shapes are.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from helpers.stored_inputs import KINDS, SHAPES, drawn, stored_input
from helpers.stored_stages import EXPLAINERS, Line, Moment, StoredCase, rounded
from numpy.random import Generator

USED, COLLAPSED = 0, 2
START = datetime(2026, 11, 28, 9, 30, tzinfo=timezone.utc)

HOSTILE = (
    "<script>window.hacked=1</script>",
    '<img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "' onmouseover='window.hacked=1",
    "javascript:window.hacked=1",
    "red; background: url(https://evil.invalid/x)",
    "<!-- <script>",
    "&lt;b&gt;{{ 7 * 7 }}{% raw %}",
    "one\u2028two\u2029three",
    "\u202eright to left\u202c",
    "lone \ud800 surrogate",
    "__proto__",
    "constructor",
    "bell \x07 and escape \x1b[31m",
)
"""Texts that do something where a page does not keep them as texts."""


@dataclass(frozen=True)
class StoredRun:
    """What a stored run is like.

    Attributes:
        epochs: Number of checks in fit.
        modalities: Name -> kind, see :data:`KINDS`.
        explainers: Names of :data:`EXPLAINERS`.
        least_from: Epoch from which the first modality is used least; before, the last one is.
        alarm: First and last epoch of an alarm of the first modality; last None: it does not end. None: no alarm.
        further_heads: Names of heads beside the main one.
        outside: Whether a validate and a test row follow.
        failed: Epochs without values, with a note.
        hostile: Whether all names and texts are those of :data:`HOSTILE`.
        every: Explainers run at every n-th check, and at the last.
    """

    name: str = "openmoji/version_0"
    epochs: int = 12
    examples: int = 16
    modalities: Mapping[str, str] | None = None
    explainers: Sequence[str] = ("dime", "importance", "cross_modal", "representation", "prediction", "errors")
    class_names: Sequence[str] = SHAPES
    least_from: int = 0
    alarm: tuple[int, int | None] | None = None
    further_heads: Sequence[str] = ()
    outside: bool = True
    failed: Sequence[int] = ()
    show_inputs: bool = True
    hostile: bool = False
    every: int = 1
    seed: int = 0

    @property
    def kinds(self) -> Mapping[str, str]:
        if self.modalities is not None:
            return self.modalities
        return (
            dict(zip(HOSTILE, ("image", "text"), strict=False)) if self.hostile else {"image": "image", "text": "text"}
        )

    @property
    def classes(self) -> Sequence[str]:
        return HOSTILE[: len(SHAPES)] if self.hostile else self.class_names

    def collapsed(self, modality: str, epoch: int) -> bool:
        if self.alarm is None or modality != next(iter(self.kinds)):
            return False
        return self.alarm[0] <= epoch and (self.alarm[1] is None or epoch <= self.alarm[1])

    def used(self, epoch: int) -> dict[str, float]:
        """Return how much of the outputs each modality moves."""
        last = max(1, len(self.kinds) - 1)
        places = {name: place if epoch >= self.least_from else last - place for place, name in enumerate(self.kinds)}
        return {
            name: 0.003 if self.collapsed(name, epoch) else 0.35 + 0.65 * place / last for name, place in places.items()
        }


def write_run(folder: Path, run: StoredRun | None = None, **changed: Any) -> Path:
    """Write the files of a run into a folder, and return it."""
    run = replace(run or StoredRun(), **changed)
    random = np.random.default_rng(run.seed)
    cases = _cases(run, random)
    moments = list(_moments(run))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(_description(run), indent=1), encoding="utf-8")
    _write_lines(folder / "history.jsonl", (_history(run, now, random) for now in moments))
    _write_lines(folder / "alerts.jsonl", _alerts(run))
    _write_lines(folder / "examples.jsonl", (_example(run, case) for case in cases))
    _write_lines(folder / "explanations.jsonl", _explanations(run, cases, moments, random))
    return folder


def _write_lines(path: Path, lines: Iterator[Line]) -> None:
    text = "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines)
    if text:
        path.write_text(text, encoding="utf-8")


def _cases(run: StoredRun, random: Generator) -> list[StoredCase]:
    cases = []
    for number in range(run.examples):
        what = drawn(random)
        words = HOSTILE[number % 5 :] if run.hostile else ()
        inputs = {name: stored_input(kind, what, random, words) for name, kind in run.kinds.items()}
        interacts = 0.75 if number % 5 == 2 else float(random.uniform(0.02, 0.25))
        target = SHAPES.index(what.shape) % len(run.classes)
        cases.append(StoredCase(str(number * 23 + 4), inputs, target, interacts, float(random.uniform(0, 1.05))))
    return cases


def _moments(run: StoredRun) -> Iterator[Moment]:
    for epoch in range(run.epochs):
        progress = 1 - 0.85 * np.exp(-4 * epoch / max(1, run.epochs - 1))
        yield Moment("fit", epoch, (epoch + 1) * 38, float(progress), run.used(epoch), run.classes)
    if run.outside:
        last = max(0, run.epochs - 1)
        for stage in ("validate", "test"):
            yield Moment(stage, last, run.epochs * 38, 0.98, run.used(last), run.classes)


def _history(run: StoredRun, now: Moment, random: Generator) -> Line:
    line: Line = {"stage": now.stage, "epoch": now.epoch, "step": now.step, "values": {}, "note": ""}
    if now.stage == "fit" and now.epoch in run.failed:
        return line | {"note": "the model gave outputs that are not finite: shares were not measured"}
    values = _shares(now, random, run)
    for head in run.further_heads:
        values |= {f"{head}/{name}": value for name, value in _shares(now, random, run).items()}
    values |= {"seconds": rounded(random.uniform(0.3, 0.4)), "rows": 2048.0, "overhead": 0.021, "agreement": 1.0}
    line["values"] = values
    line["evidence"] = {"skill": rounded(now.progress * 0.8), "skill_error": 0.03, "decides": 1.0}
    return line | ({"heads": list(run.further_heads)} if run.further_heads else {})


def _shares(now: Moment, random: Generator, run: StoredRun) -> dict[str, float]:
    """Return the values of one head; contributions and interaction add up to 1."""
    weights = {name: use**2 * random.uniform(0.9, 1.1) for name, use in now.used.items()}
    interaction = 0.12 * min(1.0, min(now.used.values()) * 3) * now.progress
    scale = (1 - interaction) / sum(weights.values())
    values: dict[str, float] = {}
    for name, weight in weights.items():
        own = weight * scale
        _with_interval(values, "contribution", name, own, 0.03)
        _with_interval(values, "total", name, min(1.0, own + interaction * (now.used[name] > 0.01)), 0.035)
        values[f"perceptual/{name}"] = rounded(0.5 * own * now.progress)
        values[f"flips/{name}"] = rounded(min(1.0, own * 0.9))
        values[f"collapse/{name}"] = float(COLLAPSED if run.collapsed(name, now.epoch) else USED)
    _with_interval(values, "interaction", "", interaction, 0.02)
    names = list(now.used)
    if 3 <= len(names) <= 4:
        pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
        for a, b in pairs:
            _with_interval(values, "interaction", f"{a}+{b}", interaction / len(pairs), 0.01)
    score = 0.3 + 0.55 * now.progress + random.normal(0, 0.01)
    values |= {"score": rounded(score), "emap_score": rounded(score - 0.06 * now.progress)}
    _with_interval(values, "emap_gap", "", 0.06 * now.progress, 0.02)
    values["weakest_total"] = min(values[f"total/{name}"] for name in names)
    return values


def _with_interval(values: dict[str, float], kind: str, of: str, value: float, half: float) -> None:
    ending = of and f"/{of}"
    half *= min(1.0, 20 * value)
    values[f"{kind}{ending}"] = rounded(value)
    values[f"{kind}_low{ending}"], values[f"{kind}_high{ending}"] = rounded(value - half), rounded(value + half)


def _alerts(run: StoredRun) -> Iterator[Line]:
    if run.alarm is None:
        return
    (begin, end), name = run.alarm, next(iter(run.kinds))
    rest = " and ".join(list(run.kinds)[1:][:2])
    words = (
        f"{name}: collapsed since epoch {begin} (step {(begin + 1) * 38}); the model no longer relies on it, though it "
        "is informative\n"
        "  swapping it changes 0.1% of the outputs' variance (95 %: 0.0% to 0.2%), and 0.4% of the predictions that "
        "swapping everything changes\n"
        "  the score is 0.539, and 0.539 when it is swapped: nothing is lost\n"
        "  without the model, a regression on its raw inputs explains 25% (standard error 2%) of the labels' variance "
        "in 411 held-out examples\n"
        "What to try:\n"
        f"  - the training loader: is {name} of the same example as its label, normalised once, and not constant or "
        "empty?\n"
        f"  - a shortcut in {rest}: does it contain the label, or something that determines it?\n"
        f"  - modality dropout: hide {rest} in some training examples, so that the model must predict from {name} "
        "alone\n"
        f"  - a larger learning rate for the encoder of {name}, or a smaller one for {rest}; nothing frozen or detached"
    )
    told = min(begin + 1, run.epochs - 1)
    yield _alert(told, name, COLLAPSED, f"{name}: collapsed", words, urgent=True)
    if end is not None:
        again = f"{name}: used since epoch {end + 1} (step {(end + 2) * 38})"
        yield _alert(end + 1, name, USED, f"{name}: used", again, urgent=False)


def _alert(epoch: int, name: str, state: int, title: str, text: str, *, urgent: bool) -> Line:
    place = {"stage": "fit", "epoch": epoch, "step": (epoch + 1) * 38, "head": "", "modality": name}
    return place | {"state": state, "title": title, "text": text, "urgent": urgent}


def _example(run: StoredRun, case: StoredCase) -> Line:
    inputs = {name: made.plain(show=run.show_inputs) for name, made in case.inputs.items()}
    line: Line = {"id": case.id, "position": int(case.id), "stage": "fit", "target": case.target}
    return line | {"target_name": run.classes[case.target], "modalities": inputs}


def _explanations(
    run: StoredRun, cases: Sequence[StoredCase], moments: Sequence[Moment], random: Generator
) -> Iterator[Line]:
    for number, now in enumerate(moments):
        due = number % run.every == 0 or number == len(moments) - 1
        if due and not (now.stage == "fit" and now.epoch in run.failed):
            for name in run.explainers:
                yield from EXPLAINERS[name](cases, now, random)


def _description(run: StoredRun) -> Line:
    heads = [
        {"name": "", "called": "label", "task": "multiclass", "class_names": list(run.classes), "score": "accuracy"}
    ]
    heads += [{**heads[0], "name": name, "called": name} for name in run.further_heads]
    return {
        "format": 1,
        "name": "mviz",
        "run": HOSTILE[2] if run.hostile else run.name,
        "started": START.isoformat(),
        "finished": (START + timedelta(seconds=7 * run.epochs)).isoformat(),
        "versions": {
            "python": "3.12.1",
            "torch": "2.13.0",
            "lightning": "2.6.0",
            "numpy": "2.3.1",
            "mviz_lightning": "0.1.0",
        },
        "model": {"class": HOSTILE[0] if run.hostile else "EmojiNet", "parameters": 413_512},
        "modalities": [
            {"name": name, "leaves": ["pixel_values" if place == 0 else f"leaf_{place}"], "kind": kind}
            for place, (name, kind) in enumerate(run.kinds.items())
        ],
        "heads": heads,
        "show_inputs": run.show_inputs,
        "configuration": {
            "monitor": {"num_examples": 128, "group_size": 16, "every_n_validations": 1, "name": "mviz"},
            "explainers": {name: {"num_examples": run.examples} for name in run.explainers},
            "alarm": None if run.alarm is None else {"expected": None, "patience": 2},
        },
        "observed": ["the model is called as model(image, tokens, mask)", "labels are batch['label'], 5 classes"],
        "examples": {"recombined": 128, "group_size": 16},
    }


def main() -> None:
    """Write a run, as told on the command line."""
    parser = argparse.ArgumentParser(description="Write the folder of a run that never was.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default=StoredRun.name)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--modalities", nargs="*", choices=list(KINDS), help="kinds; each is also the name")
    parser.add_argument("--many", type=int, default=0, help="number of modalities, of all kinds in turn")
    parser.add_argument("--explainers", nargs="*", choices=list(EXPLAINERS), default=list(StoredRun.explainers))
    parser.add_argument("--all-explainers", action="store_true")
    parser.add_argument("--alarm", action="store_true", help="an alarm from a third of the training to two thirds")
    parser.add_argument("--lasting-alarm", action="store_true", help="an alarm that does not end")
    parser.add_argument("--heads", nargs="*", default=[], help="names of further heads")
    parser.add_argument("--failed", nargs="*", type=int, default=[], help="epochs without values")
    parser.add_argument("--hidden", action="store_true", help="show_inputs=False")
    parser.add_argument("--hostile", action="store_true", help="names that are scripts and worse")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    third = given.epochs // 3
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(given.many)] or given.modalities
    names = [f"{kind} {number + 1}" if kinds.count(kind) > 1 else kind for number, kind in enumerate(kinds or ())]
    run = StoredRun(
        name=given.name, epochs=given.epochs, examples=given.examples, failed=given.failed, hostile=given.hostile,
        modalities=dict(zip(names, kinds, strict=True)) if kinds else None, every=given.every, seed=given.seed,
        explainers=list(EXPLAINERS) if given.all_explainers else given.explainers, show_inputs=not given.hidden,
        alarm=(third, None) if given.lasting_alarm else (third, 2 * third) if given.alarm else None,
        further_heads=given.heads,
    )  # fmt: skip
    sys.stdout.write(f"{write_run(given.folder, run)}\n")


if __name__ == "__main__":
    main()
