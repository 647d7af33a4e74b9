"""The checks of the dry run, repeated once the model is trained, on examples of the whole pass."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, OnBatch, call_named, floats, integers, probe_of, seeded
from helpers.toy import Toy, fit, monitor
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, MonitorWarning, explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine import Evaluator
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session
from mviz_lightning.session.trained_check import TrainedCheck

COUNT = 64
SETTINGS = {"modalities": ["image", "text"], "target": "label", "num_examples": 32, "group_size": 8}


def data(**more: Any) -> dict[str, Any]:
    return {"image": floats(COUNT, 4), "text": floats(COUNT, 3, seed=1), "label": integers(3, COUNT), **more}


def in_batches(examples: dict[str, Any], size: int = 16) -> list[dict[str, Any]]:
    return [{name: leaf[k : k + size] for name, leaf in examples.items()} for k in range(0, COUNT, size)]


def session_of(module: nn.Module, batches: Sequence[Any], **more: Any) -> Session:
    """Return a session whose dry run saw the first batch, and whose probe is drawn from all."""
    settings = SETTINGS | {"modalities": parse_modalities(SETTINGS["modalities"])} | more
    found = Session(SessionConfig(**settings))
    for start, batch in enumerate(batches):
        found.collect(batch, lambda count, first=16 * start: range(first, first + count))
        found.dry_run(module)
    found.complete()
    return found


class Growing(nn.Module):
    """Late fusion, and a further term whose weight is 0 before the training."""

    def __init__(self, term: Any) -> None:
        super().__init__()
        self.net, self.term, self.gate = seeded(LateFusion), term, nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.net(image, text) + self.gate * self.term(image, text)

    def train_on(self, value: float = 1.0) -> None:
        self.gate.data.fill_(value)


def strangers(image: Tensor, text: Tensor) -> Tensor:
    return image.mean(0)[:3] + 200


MIXED = (
    r"the same examples gave other outputs (without 8 of the others|in other batches) \(largest difference \d[\d.]* of "
    r"the outputs' spread over \d+ examples\): examples of a batch influence one another"
)


@pytest.mark.parametrize("reuse", [True, False])
def test_strangers_that_matter_only_after_the_training_cost_every_run_until_they_do_not(reuse):
    module = Growing(strangers)
    found = session_of(module, in_batches(data()), reuse=reuse)
    module.train_on()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=MIXED):
            found.run()
    module.train_on(0.0)
    assert found.run().values["interaction"] > 0


@pytest.fixture
def checks(monkeypatch):
    """The number of examples of every check of a trained model."""
    found, check = [], TrainedCheck._check
    monkeypatch.setattr(TrainedCheck, "_check", lambda *given: found.append(given[2].size) or check(*given))
    return found


def test_the_first_run_and_the_first_with_other_outputs_are_checked(checks):
    module = Growing(lambda image, text: image[:, :3])
    found = session_of(module, in_batches(data()))
    for value, count in ((0.0, 1), (0.0, 1), (1.0, 2), (2.0, 2)):
        module.train_on(value)
        found.run()
        assert len(checks) == count
    assert set(checks) == {COUNT}


@dataclass(frozen=True)
class Beside(Ranks):
    """A process beside another one, whose outputs are written down."""

    others: list[str] = field(default_factory=list)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.others.pop(0) if isinstance(value, str) else value]


def test_all_processes_check_if_the_outputs_of_one_have_changed(checks, monkeypatch):
    monkeypatch.setattr(TrainedCheck, "_check", lambda *_: checks.append(1))
    evaluator, probe = Evaluator(nn.Identity(), call_named), probe_of(data())
    check, ranks = TrainedCheck(set()), Beside(others=["first", "first", "second", "third"])
    for count in (1, 1, 2, 2):
        check.run(floats(4, 3), evaluator, probe, ModelCall("forward()", call_named), ranks)
        assert len(checks) == count


@pytest.mark.parametrize("reuse", [True, False])
def test_a_training_goes_on_and_the_history_says_what_was_measured(tmp_path, reuse):
    class Mixing(Toy):
        def forward(self, *modalities):
            mixed = 0.0 if self.training or self.global_step == 0 else modalities[0].mean(0)[:3]
            return super().forward(*modalities) + mixed

    watch = monitor(reuse=reuse)
    with pytest.warns(MonitorWarning, match=f"a run failed; .*{MIXED}"):
        chosen = fit(tmp_path, watch, module=Mixing())
    assert chosen.current_epoch == 2
    assert [bool(row.values) for row in watch.history] == [False, False]
    assert "examples of a batch influence one another" in watch.history[0].note


def test_a_leaf_that_is_the_same_in_the_first_batch_is_named_with_the_line_to_paste():
    identity = torch.where(torch.arange(COUNT) < 32, 0.0, torch.arange(COUNT) / COUNT)[:, None]
    module = OnBatch(lambda _, batch: batch["image"][:, :3] + batch["text"] * batch["id"])
    line = r'Pass modalities=\{"image": "image", "text": \["text", "id"\]\}'
    with pytest.warns(MonitorWarning, match=f"the outputs depend on 'id', which .*{line}") as caught:
        explain(module, in_batches(data(id=identity)), **SETTINGS)
    assert len(caught) == 1


def test_what_the_dry_run_named_is_not_named_again():
    module = OnBatch(lambda _, batch: batch["image"][:, :3] + batch["id"][:, None])
    with pytest.warns(MonitorWarning) as caught:
        explain(module, in_batches(data(id=torch.arange(COUNT))), **SETTINGS)
    texts = [str(one.message) for one in caught]
    assert len(texts) == 2
    assert texts[0].startswith("swapping 'text' among 16 examples")
    assert texts[1].startswith("the outputs depend on 'id'")


class Gated(nn.Module):
    """A gate that is closed at initialisation, so that the image changes no bit yet."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return text + self.gate * image[:, :3]


def test_a_gate_that_the_training_did_not_open_is_named_at_the_first_run():
    module = Gated()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = session_of(module, in_batches(data()))
    with pytest.warns(
        MonitorWarning, match="swapping 'image' among 16 examples leaves the scores bit-identical"
    ) as caught:
        found.run()
    assert len(caught) == 1


class Saturated(nn.Module):
    """Returns probabilities that are 1 to the last digit, or nearly: their logits jump where they are rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(lambda: nn.Sequential(nn.Linear(7, 256), nn.Tanh(), nn.Linear(256, 3)))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return (60 * self.net(torch.cat([image, text], 1))).sigmoid()


def test_the_rounding_of_probabilities_near_1_is_no_influence_of_other_examples():
    module = Saturated()
    found = session_of(module, in_batches(data(label=integers(2, COUNT, 3))))
    found.run()
    module.net[2].bias.data += 0.1
    assert found.run().values["interaction"] >= 0
