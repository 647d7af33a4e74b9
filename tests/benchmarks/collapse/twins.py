"""Train healthy twins of the benchmark's runs with and without the weak modality, in a plain loop without the package.

python tests/benchmarks/collapse/twins.py --part scenarios --out twins.jsonl

What the twin loses without the modality tells whether it adds anything to the others: ``table.py`` reads the file.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "examples")]

import later_recipes  # noqa: F401  its parts
import torch
from data import Data, load
from model import LateFusion
from recipes import PARTS, RunSpec
from runs import read
from torch import Tensor
from truth import COMMON, chance, is_rare, right

from mviz_lightning.sinks.files import append_lines

EPOCHS = 14
SEEDS = {"av": 1, "openmoji": 2, "shipped": 6}
"""Family -> number of twins; three elsewhere."""
KEPT = frozenset({"noise", "faint"})
"""Recipes that change what a modality can add, not whether the model learns it: twins have them too."""


def world(found: Any) -> dict[str, Any]:
    """Return what a run's modality would have to add if nothing were wrong with the model, as a key."""
    kept = found["recipe"] in KEPT
    told = {name: found[name] for name in ("family", "task", "noise")} | {"views": list(found["views"])}
    return told | {"recipe": found["recipe"] if kept else "plain", "strength": found["strength"] if kept else 0.0}


def errors(spec: RunSpec, data: Data) -> Tensor:
    """Return ``(N, L)`` errors of a model on the validation examples, as parts of :func:`truth.right`."""
    torch.manual_seed(spec.seed)
    model, label = LateFusion(spec, data), data.train["label"]
    optimizer = torch.optim.AdamW(model.parameters(), spec.rate)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(label)).split(min(64, max(8, len(label) // 12))):
            loss = model.loss(model({name: data.train[name][rows] for name in data.modalities}), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return 1 - right(model(dict(data.validation)), data.validation["label"], data.task)


def gains(spec: RunSpec, seed: int) -> tuple[Tensor, Tensor]:
    """Return ``(N, L)`` what every example's labels gain from the weak modality, and ``(L,)`` the error by chance."""
    spec = replace(spec, seed=9500 + seed, fusion="mlp", epochs=EPOCHS)
    data = load(spec)
    sound = [replace(spec, recipe="plain"), replace(spec, recipe="dropout", strength=0.25)]
    best = min((errors(one, data) for one in sound), key=lambda found: float(found.mean()))
    rest = {name: {k: v for k, v in part.items() if k != spec.weak} for name, part in _parts(data).items()}
    without = errors(replace(sound[0], views=spec.views[:-1]), replace(data, **rest))
    return without - best, _by_chance(data)


def _parts(data: Data) -> dict[str, Any]:
    return {"train": data.train, "validation": data.validation}


def _by_chance(data: Data) -> Tensor:
    """Return the error of the best constant answer: of every label, or of all together."""
    label = data.validation["label"]
    if data.task != "multilabel" or is_rare(label):
        return torch.tensor([1 - chance(label, data.task)])
    return torch.tensor([1 - chance(column, "binary") for column in label.T])


def worth(key: dict[str, Any]) -> dict[str, Any]:
    """Return the skill that a healthy twin loses without the weak modality, with its standard error.

    Of several labels, all count together; and each that is not rare by itself, of which the largest loss is told.
    """
    spec = RunSpec(
        "twins", key["family"], tuple(key["views"]), key["recipe"], key["strength"], key["task"], noise=key["noise"]
    )
    found = [gains(spec, seed) for seed in range(SEEDS.get(spec.family, 3))]
    gained, least = torch.cat([one for one, _ in found]), torch.stack([one for _, one in found]).mean(0)
    together = gained.mean(1) / least.mean()
    single = (gained / least)[:, least > COMMON] if gained.shape[1] > 1 else together[:, None]
    best = single[:, int(single.mean(0).argmax())] if single.shape[1] else together
    told = max(together, best, key=lambda gain: float(gain.mean()))
    return {**key, "gain": float(told.mean()), "error": float(told.std() / len(told) ** 0.5), "examples": len(told)}


def worlds(records: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the different worlds of runs."""
    seen = set()
    for record in records:
        key = world(record)
        if (name := json.dumps(key, sort_keys=True)) not in seen:
            seen.add(name)
            yield key


def main() -> None:
    """Train the twins that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=list(PARTS), required=True)
    parser.add_argument("--out", type=Path, default=Path("twins.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done = list(worlds(read(arguments.out))) if arguments.out.exists() else []
    for key in worlds(vars(spec) for part in arguments.part for spec in PARTS[part]()):
        if key not in done:
            found = worth(key)
            append_lines(arguments.out, [json.dumps(found)])
            print(
                f"{key['task']} {'+'.join(key['views'])} {key['recipe']}: {found['gain']:.3f} +- {found['error']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
