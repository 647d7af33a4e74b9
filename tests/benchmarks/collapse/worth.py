"""Print what an alarm is worth: trainings left alone, stopped at the alarm, and repaired at it.

    python tests/benchmarks/collapse/worth.py

Repaired means that an action switches modality dropout on; a stopped training costs no further epochs.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3] / "examples")]

import torch
from lightning.pytorch import LightningModule, Trainer
from recipes import RunSpec
from table import show
from train import train
from truth import state_at

from mviz_lightning import UnimodalCollapse
from mviz_lightning.collapse.rule import Verdict

RECIPES = (("lr", 0.1), ("lr", 0.01), ("late", 0.5), ("leak", 1.0))
DROPOUT = 0.5


def switch_dropout_on(trainer: Trainer, module: LightningModule, verdict: Verdict) -> None:
    """Hide modalities from now on, and give their encoders the learning rate that the others have."""
    module.modality_dropout = DROPOUT  # type: ignore[assignment]
    for group in trainer.optimizers[0].param_groups:
        group["lr"] = max(other["lr"] for other in trainer.optimizers[0].param_groups)


ACTIONS: dict[str, Any] = {"left alone": "warn", "stopped": "stop", "repaired": switch_dropout_on}


def outcomes(spec: RunSpec) -> dict[str, tuple[float, float, int, str]]:
    """Return the score, the weak modality's reliance, the epochs and the state at the end, by what an alarm does."""
    found = {}
    for name, action in ACTIONS.items():
        callbacks: Callable[[], Any] = partial(_alarms, action)
        record = train(spec, callbacks)
        last = record["epochs"][-1]["truth"]
        state = state_at(record, spec.weak)
        found[name] = (last["score"], last["reliance"][spec.weak], len(record["epochs"]), state)
    return found


def _alarms(action: Any) -> list[UnimodalCollapse]:
    return [UnimodalCollapse(action)]


def main() -> None:
    """Train three times for each recipe and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    lines, totals = [["recipe", "alarm", "score", "reliance", "epochs", "outcome"]], {name: [] for name in ACTIONS}
    for recipe, strength in RECIPES:
        for seed in range(arguments.seeds):
            spec = RunSpec("worth", "av", ("mel", "image"), recipe, strength, seed=seed, epochs=arguments.epochs)
            for name, (score, reliance, epochs, state) in outcomes(spec).items():
                label = f"{recipe} {strength:g}, seed {seed}"
                lines.append([label, name, f"{score:.3f}", f"{reliance:.2f}", str(epochs), state])
                totals[name].append((score, epochs))
    show(lines)
    for name, found in totals.items():
        print(f"{name}: mean score {mean(s for s, _ in found):.3f}, mean epochs {mean(e for _, e in found):.1f}")


if __name__ == "__main__":
    main()
