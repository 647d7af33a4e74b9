"""Observing may fail in any way: the user's own step runs on and gives the same result."""

import copy
from typing import Any

import pytest
import torch
import torchmetrics
from helpers.toy import MODALITIES, SMALL, Toy, loader, trainer
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mviz_lightning import MonitorWarning, MultimodalMonitor, explain
from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.observation import heads, observed_step, recorder, settling
from mviz_lightning.observation.provenance import Provenance
from mviz_lightning.observation.recorder import StepRecorder
from mviz_lightning.observation.step_record import WantedEvents
from mviz_lightning.session import dry_run


class Metered(Toy):
    """Calls forward directly, changes tensors in place, and updates a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3)
        self.validated: list[Tensor] = []

    def validation_step(self, batch: Any, _: int) -> None:
        scores = self.forward(*batch[:2]) + self(*batch[:2])
        scores.mul_(0.5)
        self.accuracy(scores, batch[2])
        loss = nn.functional.cross_entropy(scores, batch[2])
        self.validated.append(loss)
        self.log_dict({"val_loss": loss, "val_accuracy": self.accuracy})


def left(folder: Any, *callbacks: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the weights after a training, and the losses of its own validations."""
    torch.manual_seed(0)
    module = Metered()
    trainer(folder, *callbacks, max_epochs=1).fit(module, loader(shuffle=True), loader(seed=1))
    return copy.deepcopy(module.state_dict()), module.validated


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return left(tmp_path_factory.mktemp("alone"))


def broken(*_: Any, **__: Any) -> Any:
    raise KeyError("a fault of the recorder")


PARTS = [
    *((StepRecorder, name) for name in ("__init__", "_know", "_enter", "_before", "_after", "_template", "_made")),
    *((StepRecorder, name) for name in ("_begin", "_end", "_returned", "_met", "_saw", "_note_weights")),
    (WantedEvents, "catch"),
    *((Provenance, name) for name in ("of", "put", "keep", "template", "known")),
    (WeakTensorKeyDictionary, "__setitem__"),
    (observed_step, "muted"),
    (recorder, "metrics_of"),
    (recorder, "meeting_of"),
    (settling, "heads_of"),
    (heads, "task_of"),
    (settling, "ways_of"),
    (settling, "target_of"),
    (dry_run, "settle"),
]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::mviz_lightning.errors.MonitorWarning")
@pytest.mark.parametrize(("owner", "name"), PARTS, ids=[f"{owner.__name__}.{name}" for owner, name in PARTS])
def test_a_fault_of_the_observation_leaves_the_users_step_as_it_is(tmp_path, monkeypatch, alone, owner, name):
    monkeypatch.setattr(owner, name, broken)
    observing = MultimodalMonitor(MODALITIES, task="multiclass", **SMALL)
    weights, validated = left(tmp_path, observing)

    assert all(torch.equal(weights[key], expected) for key, expected in alone[0].items())
    assert len(validated) == len(alone[1])
    assert all(torch.equal(found, expected) for found, expected in zip(validated, alone[1], strict=True))
    assert all(row.values["total/image"] > 0 for row in observing.history)
    if owner is not observed_step and name not in ("_note_weights", "catch", "keep"):  # these were not needed
        assert "KeyError: 'a fault of the recorder'" in observing.history[0].note


def test_a_fault_in_the_middle_of_a_step_gives_guesses_and_a_note(monkeypatch):
    calls: list[str] = []
    real = StepRecorder._after

    def after(self: Any, func: Any, *given: Any) -> None:
        calls.append(func.__name__)
        if len(calls) == 3:
            raise RuntimeError("in the middle")
        real(self, func, *given)

    settings = {"modalities": MODALITIES, "task": "multiclass", "num_examples": 32, "group_size": 8}
    told = explain(Toy(), loader(), **settings)
    monkeypatch.setattr(StepRecorder, "_after", after)
    found = explain(Toy(), loader(), step=lambda module, batch: module.loss(batch), **settings)
    assert "RuntimeError: in the middle" in found.notes
    assert len(calls) == 3
    assert "score" not in found.values
    assert set(found.values) == set(told.values)


def test_a_trial_that_fails_at_the_first_batch_is_not_compared_with_the_step_of_the_second(tmp_path, monkeypatch):
    real, calls = trainer_facts.step_name, []

    def step_name(given: Any) -> str:
        calls.append(given)
        if len(calls) == 2:  # of the trial: the first is of the step that is watched
            raise KeyError("once")
        return real(given)

    monkeypatch.setattr(trainer_facts, "step_name", step_name)
    watch = MultimodalMonitor(MODALITIES, **SMALL)
    with pytest.warns(MonitorWarning, match="KeyError: 'once'") as said:
        left(tmp_path, watch)
    assert sum(one.category is MonitorWarning for one in said) == 1
    assert watch.history[0].values["total/image"] > 0
