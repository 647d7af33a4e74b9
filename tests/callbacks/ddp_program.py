"""Trains on several processes; run by test_ddp.py with a folder, a number of processes and the names of scenarios."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.toy import Toy, examples, loader, monitor, trainer
from helpers.unprintable import UnprintableError

from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)


def broken_on_second_rank(module: Any, batch: Any) -> torch.Tensor:
    """Fail on rank 1 only, and only in the run, not in the rehearsal."""
    if module.global_rank == 1 and len(batch[0]) > 16:
        raise RuntimeError("rank 1 is unwell")
    return module(*batch[:2])


def unprintable_on_second_rank(module: Any, batch: Any) -> torch.Tensor:
    """Fail on rank 1 only, in the run, with an error that cannot be printed."""
    if module.global_rank == 1 and len(batch[0]) > 16:
        raise UnprintableError
    return module(*batch[:2])


def wrong_on_second_rank(module: Any, batch: Any) -> Any:
    return "nothing" if module.global_rank == 1 else module(*batch[:2])


EXPLAINED = [
    DIME(num_examples=3, every_n_validations=3, name="three"),  # two on the first rank, one on the second
    DIME(num_examples=1, every_n_validations=1, name="one"),
]

ALL_METHODS = [
    UnimodalImportance(num_examples=3, num_totals=5),
    CrossModalInteraction(num_examples=3),
    CrossModalInteraction(num_examples=1, method="second_order", name="bent"),
    MultimodalRepresentation(),
    MultimodalPrediction(num_examples=1),
    ErrorAnalysis(num_examples=1),
]

MEASURES = ["shapley", "intershap", "mm_shap"]

SETTINGS: dict[str, dict[str, Any]] = {
    "explained": {"explainers": EXPLAINED, "pin": [50]},
    "all_methods": {"explainers": ALL_METHODS, "measures": MEASURES},
    "plain": {"measures": MEASURES[:2]},
    "uneven": {},
    "one_group_each": {"num_examples": 24, "measures": MEASURES[:2]},  # three groups for two ranks
    "idle": {"num_examples": 16, "measures": MEASURES[:2]},  # two groups for three ranks
    "idle_auroc": {"num_examples": 16, "score": MulticlassAUROC(3)},
    **{key: {"target": None, "reference": 200} for key in ("empty", "empty_first", "dealt", "unsharded")},
    "raises": {"predict": broken_on_second_rank},
    "unprintable": {"predict": unprintable_on_second_rank},
    "spawned": {"explainers": EXPLAINED},
    "misconfigured": {"predict": wrong_on_second_rank},
    "unobserved": {},
    "subsets": {"by_class": True, "subgroups": "2", "explainers": [ExampleRanking(every_n_validations=1)]},
    "observed": {"target": None},
    "pairs": {"target": None},
    "observed_uneven": {"target": None},
    "observed_replay": {"target": None},
}


class Synced(Toy):
    """Logs over all processes, before its loss and after it."""

    alpha = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(3, average="micro")

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        scores = self(*batch[:2]) * self.alpha
        self.log("largest", scores.abs().max(), sync_dist=True)
        self.log("val_loss", torch.nn.functional.cross_entropy(scores, batch[2]), sync_dist=True)
        self.accuracy(scores, batch[2])
        self.log("val_accuracy", self.accuracy)


class Scheduled(Synced):
    """Scales its scores by a number that a schedule changes, so that its step is replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = 1.5

    def on_train_epoch_end(self) -> None:
        self.alpha *= 2


class Contrast(Toy):
    """InfoNCE of its two encoders."""

    def loss(self, batch: Any) -> torch.Tensor:
        first, second = (torch.nn.functional.normalize(one(x)) for one, x in zip(self.encoders, batch[:2], strict=True))
        scores = 5 * first @ second.T
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(scores))) + 0 * self.head(first).sum()


MODULES: dict[str, Any] = {"observed_replay": Scheduled, "pairs": Contrast} | dict.fromkeys(
    ("unobserved", "observed", "observed_uneven"), Synced
)
"""Scenario -> its model, if it is not the usual one."""


def rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


class Stream(IterableDataset[Any]):
    """A stream without a length: of all examples, those that a rank gets."""

    def __init__(self, mine: Any) -> None:
        self.mine = mine

    def __iter__(self) -> Any:
        return iter(list(examples(64, seed=1))[self.mine()])


NOTHING, EVERYTHING = slice(0, 0), slice(None)


def streams(devices: int) -> dict[str, Any]:
    """Return which of the examples a stream gives to this rank."""
    return {
        "empty": lambda: EVERYTHING if rank() == 0 else NOTHING,
        "empty_first": lambda: EVERYTHING if rank() == devices - 1 else NOTHING,
        "dealt": lambda: slice(rank(), None, devices),
        "unsharded": lambda: EVERYTHING,
    }


def explained(name: str, step: int, explanations: Any) -> dict[str, Any]:
    """Return what a method found, as numbers."""
    found = {str(one.position): [explained_output(output) for output in one.outputs] for one in explanations}
    return {"by": name, "step": step, "found": found}


def explained_output(output: Any) -> list[float]:
    parts = [[*part.unimodal.tolist(), *part.interaction.tolist()] for part in output.parts.values()]
    return [output.output, output.value, output.unimodal, *(weight for part in parts for weight in part)]


class Keep(Callback):
    """Writes what this rank saw."""

    def __init__(self, folder: Path, watch: Any) -> None:
        self.folder, self.watch = folder, watch
        self.validated: list[dict[str, float]] = []
        self.explained: list[Any] = []

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if trainer.state.fn == "validate":
            self.validated = [row.values for row in self.watch.history]

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        if trainer.state.fn == "validate":  # in front of the monitor, which writes them and forgets them
            self.explained = [
                explained(one.explainer.name, one.step, one.result.examples if one.explainer.over_epochs else [])
                for one in self.watch._run.entries
            ]

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        probe = self.watch._run.session.probe
        found = {
            "validated": self.validated,
            "explained": self.explained,
            "rows": [row.values for row in self.watch.history],
            "notes": [row.note for row in self.watch.history],
            "probe": None if probe is None else probe.leaves["0"].tolist(),
            "logged": {k: float(v) for k, v in trainer.callback_metrics.items()},
            "album": [
                explained(one.explainer, one.step, one.explanations) for one in self.watch.explanation_history.entries
            ],
            "sinks": len(self.watch._run.reporter.sinks),
            "weights": sum(float(p.detach().double().abs().sum()) for p in module.parameters()),
        }
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def main(scenario: str, folder: Path, devices: int) -> None:
    torch.manual_seed(0)
    watch = monitor(**SETTINGS[scenario])
    stop = EarlyStopping("mviz/weakest_total", mode="max", patience=5)
    strategy = "ddp_spawn" if scenario == "spawned" else "ddp"
    settings = {"strategy": strategy, "devices": devices} if devices > 1 else {}
    monitored = () if scenario == "unobserved" else (watch, stop)
    chosen = trainer(folder, Keep(folder, watch), *monitored, **settings)
    validation = DataLoader(examples(61 if "uneven" in scenario else 64, seed=1), batch_size=16 // devices)
    if scenario in streams(devices):
        validation = DataLoader(Stream(streams(devices)[scenario]), batch_size=16 // devices)
    try:
        module = MODULES.get(scenario, Toy)()
        if scenario in (
            "plain",
            "pairs",
            "explained",
            "all_methods",
            "uneven",
            "one_group_each",
            "idle",
            "subsets",
            *streams(devices),
        ):
            chosen.validate(module, validation, verbose=False)
        chosen.fit(module, loader(), validation)
    except Exception as error:
        (folder / f"rank{os.environ.get('LOCAL_RANK', 0)}.error").write_text(f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    for name in sys.argv[3:]:
        (Path(sys.argv[1]) / name).mkdir(exist_ok=True)
        main(name, Path(sys.argv[1]) / name, int(sys.argv[2]))
