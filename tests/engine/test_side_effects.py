"""What evaluations change and cannot be put back is noticed and named; what is put back, or does not change, is not."""

import itertools
import random
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import counted
from helpers.batches import floats
from torch import nn

from mviz_lightning.engine import isolated, reach, side_effects, tensor_copies
from mviz_lightning.engine.side_effects import SideEffects

CALLS: list[int] = []
NUMBER = 0
IDS = itertools.count()
STATE = SimpleNamespace(inner={"calls": [0]})
TENSOR = torch.zeros(3)
ARRAY = np.zeros(3)
INTEGERS = array("l", [0])
DRAWS = np.random.default_rng(0)
NEVER = [0]
OLD, PLAIN, OF_TORCH = np.random.RandomState(0), random.Random(0), torch.Generator()


def count_globally() -> None:
    CALLS.append(1)


def NOTED() -> None:
    """Has an attribute that counts."""


vars(NOTED)["calls"] = []


class Model(nn.Module):
    """Does something in its forward."""

    def __init__(self, act: Callable[["Model"], Any]) -> None:
        super().__init__()
        self.net, self.act, self.calls = nn.Linear(4, 2), act, 0
        self.long, self.table = [[0] for _ in range(5)], np.zeros(100)

    @property
    def helper(self) -> Callable[[], None]:
        return count_globally

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.act(self)
        return self.net(x)


def rebind(_: Model) -> None:
    global NUMBER  # noqa: PLW0603
    NUMBER += 1


def appear(_: Model) -> None:
    global LATE  # noqa: PLW0603
    LATE = 1


ACTS: dict[str, tuple[Callable[[Model], Any], str]] = {
    "a list": (lambda _: CALLS.append(1), f"CALLS of {__name__}"),
    "a list that a function of a property names": (lambda model: model.helper(), f"CALLS of {__name__}"),
    "a number": (rebind, f"NUMBER of {__name__}"),
    "a variable that is new": (appear, f"LATE of {__name__}"),
    "a count": (lambda _: next(IDS), f"IDS of {__name__}"),
    "a list in a dict in an object": (lambda _: STATE.inner["calls"].append(1), f"STATE of {__name__}"),
    "a tensor": (lambda _: TENSOR.data.add_(1), f"TENSOR of {__name__}"),
    "an array": (lambda _: ARRAY.__setitem__(0, ARRAY[0] + 1), f"ARRAY of {__name__}"),
    "an array of Python": (lambda _: INTEGERS.append(1), f"INTEGERS of {__name__}"),
    "an attribute of a function": (lambda _: NOTED.calls.append(1), f"NOTED of {__name__}"),
    "a generator of random numbers": (lambda _: DRAWS.random(), f"DRAWS of {__name__}"),
    "a variable of another module": (lambda _: counted.SEEN.append(1), "SEEN of helpers.counted"),
    "an entry of a long list": (lambda model: model.long[3].append(1), "long"),
    "a large array": (lambda model: model.table.__setitem__(0, 1 + model.table[0]), "table"),
    "large weights": (lambda model: model.net.weight.detach().numpy().__iadd__(1), "net.weight"),
}

every_act = pytest.mark.parametrize(("act", "name"), ACTS.values(), ids=ACTS.keys())


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small things count as large."""
    for module, name, value in [
        (reach, "LARGEST_STATE", 4),
        (side_effects, "LARGEST_STATE", 4),
        (reach, "LARGEST_ARRAY", 800),
        (side_effects, "LARGEST_ARRAY", 800),
        (side_effects, "LARGEST_WEIGHTS", 0),
        (tensor_copies, "LARGEST_WEIGHTS", 0),
    ]:
        monkeypatch.setattr(module, name, value)
    globals().pop("LATE", None)


def evaluate(effects: SideEffects, model: nn.Module, *, closely: bool = True) -> list[str]:
    with effects.noticed(model, closely=closely), isolated(model):
        model(floats(3, 4))
    return effects.pop()


@every_act
def test_what_stays_changed_is_named(act: Callable[[Model], Any], name: str) -> None:
    assert evaluate(SideEffects(), Model(act)) == [name]


@every_act
def test_without_digests_nothing_is_named(act: Callable[[Model], Any], name: str) -> None:
    assert name
    assert evaluate(SideEffects(), Model(act), closely=False) == []


HARMLESS: dict[str, Callable[[Model], Any]] = {
    "nothing": lambda _: None,
    "a global that is read": lambda _: NEVER[0],
    "generators that are read": lambda _: [str(one) for one in (DRAWS, OLD, PLAIN, OF_TORCH)],
    "an attribute that is put back": lambda model: setattr(model, "calls", 7),
    "a weight by an operation of PyTorch": lambda model: model.net.weight.data.add_(1),
    "random numbers of the process": lambda _: np.random.rand(),
}


@pytest.mark.parametrize("act", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_put_back_or_never_changes_is_not_named(act: Callable[[Model], Any]) -> None:
    assert evaluate(SideEffects(), Model(act)) == []


def test_a_change_is_noticed_of_an_evaluation_that_fails_too() -> None:
    def fail(_: Model) -> None:
        CALLS.append(1)
        raise ZeroDivisionError

    effects = SideEffects()
    with pytest.raises(ZeroDivisionError):
        evaluate(effects, Model(fail))
    assert effects.pop() == [f"CALLS of {__name__}"]


def test_a_late_write_into_large_weights_is_named() -> None:
    effects, model = SideEffects(), Model(lambda _: None)
    assert evaluate(effects, model) == []
    with effects.noticed(model, closely=False):
        with isolated(model):
            model(floats(3, 4))
        model.act = lambda model: model.net.bias.add_(1)
        with isolated(model):
            model(floats(3, 4))
    assert effects.pop() == ["net.bias"]
    assert evaluate(effects, model, closely=False) == []


def test_state_of_a_function_that_is_called_beside_the_model_is_seen() -> None:
    effects, model = SideEffects(), Model(lambda _: None)

    def predict(module: nn.Module) -> None:
        CALLS.append(1)
        module(floats(3, 4))

    with effects.noticed(model, predict, closely=True), isolated(model):
        predict(model)
    assert effects.pop() == [f"CALLS of {__name__}"]


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.uint8, torch.complex128])
def test_a_sum_of_bits_tells_any_entry_apart(kind: torch.dtype) -> None:
    before = torch.ones(64).to(kind)
    found = {side_effects.sum_of_bits(before)}
    for place in (0, 33, 63):
        after = before.clone()
        after[place] = 2
        found.add(side_effects.sum_of_bits(after))
    assert len(found) == 2  # where the entry is does not matter
