"""Attach the monitor to a case with ``modalities=`` alone, and compare what it measures with the truth."""

import copy
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.observation.case import Case, Outcome
from benchmarks.observation.found import Found, asks, found, refusal
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import MultimodalMonitor
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional.targets import one_each

GROUPS = {2: 8, 3: 12}
"""Number of modalities -> size of a group."""

QUIET = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": 1,
    "log_every_n_steps": 1,
}

GRID, DRAWN = 8, 32
"""All pairs of this many examples are compared, and this many rows drawn from the whole probe."""


class Batches(Dataset[Any]):
    """Batches that every epoch gets anew: a step may change its batch."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return copy.deepcopy(self.batches[index])


def loader(batches: Sequence[Any]) -> DataLoader[Any]:
    """Return a loader of whole batches, in order."""
    return DataLoader(Batches(batches), batch_size=None, collate_fn=lambda batch: batch)


class Comparison(Callback):
    """Compares at the end of every validation, where the monitor has just measured.

    Attributes:
        told: For each validation, what differed and what was missing.
        seen: What the monitor found.
    """

    def __init__(self, case: Case, monitor: MultimodalMonitor) -> None:
        self.case, self.monitor = case, monitor
        self.told: list[tuple[list[str], list[str]]] = []
        self.seen: Found | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or refusal(self.monitor):
            return
        self.seen = found(self.monitor)
        with trainer.precision_plugin.forward_context(), torch.no_grad():
            self.told.append(differences(self.case, self.seen, pl_module))

    on_test_epoch_end = on_validation_epoch_end


def run(case: Case, **told: Any) -> Outcome:
    """Train a case's module for an epoch with the monitor, and return what became of it.

    Args:
        case: The case.
        told: Further arguments of the monitor, to check the case itself.
    """
    with isolate_rng():
        torch.manual_seed(0)
        return _run(case, told)


def _run(case: Case, told: Mapping[str, Any]) -> Outcome:
    module, batches = case.module(), case.batches()
    monitor = attached(case, told)
    comparison = Comparison(case, monitor)
    try:
        enter(case, module, batches, [monitor, comparison])
    except ConfigurationError as error:
        return _declined(case, str(error))
    except Exception as error:
        return Outcome(case, "died", _first_line(f"{type(error).__name__}: {error}"))
    if message := refusal(monitor):
        return _declined(case, message)
    return _judged(case, comparison)


def run_told(case: Case) -> Outcome:
    """Run a case with the monitor told what it has to find, but for labels of examples: this checks the case itself."""
    for batch in case.batches() if case.target else ():
        len(case.target(batch))
    if case.scores is None:
        return run(case)
    told = replace(case, target=case.target if case.by_position else None, others=0)
    return run(told, predict=case.scores, target=case.by_position, task=case.task or "regression")


def attached(case: Case, told: Mapping[str, Any]) -> MultimodalMonitor:
    """Return the monitor of a case, small enough for its few examples."""
    sizes = {"num_examples": 32, "group_size": GROUPS[len(case.modalities)], "reference": 48}
    return MultimodalMonitor(case.modalities, **sizes, **told)


def enter(case: Case, module: LightningModule, batches: list[Any], callbacks: list[Callback]) -> Trainer:
    """Train, validate or test a case's module as it says; return the trainer."""
    evaluated = loader(batches) if case.loaders is None else case.loaders(batches)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _unwritten():
        warnings.simplefilter("ignore")
        trainer = Trainer(default_root_dir=folder, callbacks=callbacks, **{**QUIET, **case.trainer})
        if case.entry == "fit":
            trainer.fit(module, loader(batches), evaluated)
        else:
            getattr(trainer, case.entry)(module, evaluated, verbose=False)
        return trainer


def _unwritten() -> Any:
    """Draw and write nothing, which takes most of the time."""
    return patch("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: [])


def _declined(case: Case, message: str) -> Outcome:
    return Outcome(case, "asked" if asks(message) else "refused", _first_line(message), message=message)


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]


def _judged(case: Case, comparison: Comparison) -> Outcome:
    seen = comparison.seen
    if seen is None:
        return Outcome(case, "died", "no validation was measured")
    wrong, missing = (list(dict.fromkeys(chain.from_iterable(texts))) for texts in zip(*comparison.told, strict=True))
    verdict = "wrong" if wrong else "incomplete" if missing else "right"
    return Outcome(case, verdict, "; ".join([*wrong, *missing]), seen.way, seen.task, seen.code)


def differences(case: Case, seen: Found, module: LightningModule) -> tuple[list[str], list[str]]:
    """Return in words what differs from the truth, and what is missing."""
    if case.scores is None:
        return ["it ran, but no scores can be right"], []
    task = "" if case.task in (None, seen.task) else f"task {seen.task}, not {case.task}"
    labels = "no labels" if case.target is not None and seen.labels is None else ""
    heads = "" if seen.others >= case.others else f"{seen.others} of {case.others} further heads named"
    wrong = _outputs_differ(case, seen, module), _labels_differ(case, seen), task
    return list(filter(None, wrong)), list(filter(None, (labels, heads)))


def recombined(probe: Any) -> Tensor:
    """Return ``(R, M)`` sources: a grid of the first modality's examples and all others', and rows drawn at random."""
    modalities, generator = len(probe.schema.names), torch.Generator().manual_seed(1)
    first, other = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    shifts = torch.arange(modalities - 1)
    grid = torch.cat([first.reshape(-1, 1), (other.reshape(-1, 1) + shifts) % GRID], 1)
    return torch.cat([grid, torch.randint(probe.size, (DRAWN, modalities), generator=generator)])


def _outputs_differ(case: Case, seen: Found, module: LightningModule) -> str:
    expected, outputs = _scores(case, seen, module, recombined(seen.probe))
    if expected.shape != outputs.shape:
        return f"outputs {tuple(outputs.shape)}, not {tuple(expected.shape)}"
    if case.task == "multiclass":
        expected, outputs = (values - values.mean(1, keepdim=True) for values in (expected, outputs))
    off = float((expected - outputs).abs().max() / expected.abs().max().clamp(min=1))
    return "" if off <= case.tolerance else f"outputs off by {off:.2g}"


def _scores(case: Case, seen: Found, module: LightningModule, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(R, C)`` scores of some rows as they should be and as they are; of outputs with positions of each."""
    batch, outputs = seen.probe.batch(sources, {}), _columns(seen.evaluate(sources))
    scores = case.scores(module, batch) if case.drawn is None else case.drawn(module, batch, outputs)
    if seen.places is None:
        return _columns(scores), outputs
    return _at_places(scores, outputs, seen.places[sources[:, seen.carrier]])


def _at_places(truth: Tensor, outputs: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(R * P, C)`` scores ``(R, C, *positions)`` and outputs at the positions ``(R, P)`` of each row."""
    maps = truth.detach().double().reshape(*truth.shape[:2], -1)  # of a sequence of one position it may be (R, C)
    rows = [maps[row, :, place] for row, chosen in enumerate(places) for place in chosen]
    return torch.stack(rows), outputs.reshape(len(rows), -1)


def _columns(outputs: Tensor) -> Tensor:
    """Return ``(R, C)`` in float64."""
    return outputs.detach().double().reshape(len(outputs), -1)


def _labels_differ(case: Case, seen: Found) -> str:
    if seen.labels is None:
        return ""
    if case.target is None:
        return f"labels {tuple(seen.labels.shape)}, though there are none"
    every = torch.arange(seen.probe.size).unsqueeze(1).expand(-1, len(seen.probe.schema.names))
    expected = _classes(_columns(case.target(seen.probe.batch(every, {}))), case)
    labels = _classes(_columns(seen.labels), case)
    if expected.shape[1] == 1:
        expected = expected.expand_as(labels)  # one label for several outputs, as quantiles have it
    if expected.shape != labels.shape:
        return f"labels {tuple(labels.shape)}, not {tuple(expected.shape)}"
    return "" if torch.allclose(expected, labels, rtol=0, atol=1e-5, equal_nan=True) else "other labels"


def _classes(labels: Tensor, case: Case) -> Tensor:
    """Return one-hot rows of classes as class indices; both say the same."""
    return labels.argmax(1, keepdim=True).double() if case.task == "multiclass" and one_each(labels) else labels
