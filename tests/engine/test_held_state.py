"""What a module holds in unusual places is put back too; and every change that is looked for would be there."""

import csv
import itertools
import logging
import threading
import warnings
import weakref
from collections import ChainMap, UserDict
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from helpers.batches import floats, seeded
from helpers.held import held
from torch import nn
from torchmetrics import MeanMetric

from mviz_lightning.engine import isolated, reach, tensor_copies
from mviz_lightning.engine.inert import IrreversibleStep
from mviz_lightning.engine.muted_step import call_step, muted


class Base:
    shared: list[int] = []  # noqa: RUF012 - a fault that is common
    count = 0


class Own(Base):
    def __init__(self) -> None:
        self.values: dict[str, list[int]] = {"a": [1]}
        self.me = self

    def grow(self) -> None:
        self.me.values["a"].append(2)


class Other:
    """What an object may turn into."""


class Hostile:
    """Raises at whatever is done to it."""

    def __init__(self) -> None:
        vars(self)["value"] = 0

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("hands off")

    __getattr__ = __eq__ = __len__ = __bool__ = __iter__ = __setattr__ = _raise
    __hash__ = object.__hash__


class Guarded:
    """Has a lock, as objects have that several threads may use."""

    def __init__(self) -> None:
        self.lock, self.value = threading.Lock(), 0


class Named(list[int]):
    """A list with attributes."""


class Pair(NamedTuple):
    left: list[int]
    right: dict[str, int]


def counting() -> tuple[Callable[..., None], Callable[[], Any]]:
    """Return a function that remembers its calls in a variable, a list and a default, and one that tells them."""
    calls, seen = 0, []

    def count(kept: list[int] = []) -> None:  # noqa: B006
        nonlocal calls
        calls += 1
        seen.append(calls)
        kept.append(calls)
        count.calls = calls

    return count, lambda: (calls, list(seen), list(count.__defaults__[0]), getattr(count, "calls", 0))


HOOKED: WeakKeyDictionary[nn.Module, Callable[[], Any]] = WeakKeyDictionary()
"""Module -> what tells how often its hook was called."""


@dataclass
class Record:
    seen: list[int] = field(default_factory=list)


class Holding(nn.Module):
    """Holds state in many places."""

    everywhere: list[int] = []  # noqa: RUF012
    total = 0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
        self.own, self.hostile, self.guarded = Own(), Hostile(), Guarded()
        self.method, self.partial = self.own.grow, partial(Own.grow, Own())
        self.named, self.pair = Named([1]), Pair([1], {"a": 1})
        self.user_dict, self.chain = UserDict(a=[1]), ChainMap({}, {"a": 1})
        self.count, self.calls = counting()
        self.ids, self.order = itertools.count(), iter([1, 2, 3])
        self.objects = np.array([[1], None], dtype=object)
        self.objects[0] = [1]
        self.generators = {"own": torch.Generator()}
        self.own.sparse, self.own.empty = torch.eye(2).to_sparse(), torch.empty(0)
        self.file = (folder / "rows.csv").open("w")
        self.rows, self.messages = csv.writer(self.file), logging.getLogger("of the module")
        self.optimizer = torch.optim.Adam(self.net.parameters())
        self.space, self.record = SimpleNamespace(calls=0), Record()
        self.bytes, self.draws = bytearray(2), [np.random.RandomState(0)]
        self.teachers, self.space.teacher = [nn.BatchNorm1d(4)], nn.Linear(4, 4)
        self.metrics, self.long = [MeanMetric()], [[0] for _ in range(1500)]
        count, HOOKED[self] = counting()
        self.net[1].register_forward_hook(lambda *_: count())
        self.net(floats(2, 4)).sum().backward()
        self.optimizer.step()
        self.steps = torch.zeros(())

    def told(self) -> Any:
        """Return what no picture shows."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            places = (repr(self.ids), list(copy(self.order)), self.file.tell())
        counts = (list(Base.shared), Own.count, list(self.everywhere), Holding.total, hasattr(Holding, "late"))
        calls = self.calls(), HOOKED[self](), bytes(self.bytes)
        return places, counts, calls, type(self.own), torch.signbit(self.steps).item(), sorted(vars(self.own))


def step_optimizer(module: Holding) -> None:
    with torch.enable_grad():
        module.net(floats(2, 4)).sum().backward()
        module.optimizer.step()


def average(module: Holding) -> None:
    other = [parameter.detach() * 2 for parameter in module.net.parameters()]
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(other), module.net.parameters())


def halve(module: Holding) -> None:
    module.net.half()
    module.net.float()


ACTS: dict[str, Callable[[Holding], Any]] = {
    "an object that holds itself": lambda module: module.own.grow(),
    "a method of an object": lambda module: module.method(),
    "an object in a partial": lambda module: module.partial(),
    "an object that raises": lambda module: vars(module.hostile).update(value=1),
    "an object with a lock": lambda module: setattr(module.guarded, "value", 1),
    "an object's class": lambda module: setattr(module.own, "__class__", Other),
    "an object's attributes at once": lambda module: setattr(module.own, "__dict__", {"a": 1}),
    "a list with attributes": lambda module: setattr(module.named, "late", 1),
    "a list in a named tuple": lambda module: module.pair.left.append(1),
    "a UserDict": lambda module: module.user_dict.update(b=1),
    "a ChainMap": lambda module: module.chain.update(b=1),
    "a closure": lambda module: module.count(),
    "a list of the class": lambda module: module.everywhere.append(1),
    "a number of the class": lambda module: setattr(Holding, "total", Holding.total + 1),
    "a new attribute of the class": lambda module: setattr(Holding, "late", 1),
    "a list of an object's class": lambda module: module.own.shared.append(1),
    "a number of an object's class": lambda module: setattr(Own, "count", 1),
    "a count": lambda module: next(module.ids),
    "an iterator": lambda module: next(module.order),
    "an array of objects": lambda module: module.objects[0].append(1),
    "an array's entry": lambda module: module.objects.__setitem__(1, "x"),
    "a generator of random numbers": lambda module: torch.rand(1, generator=module.generators["own"]),
    "a sparse tensor": lambda module: module.own.sparse.mul_(2),
    "an empty tensor": lambda module: module.own.empty.resize_(2).fill_(1),
    "an optimizer": step_optimizer,
    "a learning rate": lambda module: module.optimizer.param_groups[0].update(lr=1.0),
    "a file": lambda module: module.file.write("x"),
    "rows of a file": lambda module: module.rows.writerow(["x"]),
    "a zero's sign": lambda module: module.steps.neg_(),
    "weights from a vector": average,
    "weights of another precision and back": halve,
    "weights swapped": lambda module: torch.utils.swap_tensors(module.net[0].weight, nn.Parameter(floats(4, 4))),
    "weights by their storage": lambda module: module.net[0].weight.untyped_storage().fill_(0),
    "a namespace": lambda module: setattr(module.space, "calls", 1),
    "a dataclass": lambda module: module.record.seen.append(1),
    "a bytearray": lambda module: module.bytes.extend(b"x"),
    "an old generator of random numbers in a list": lambda module: module.draws[0].rand(),
    "a teacher in a list": lambda module: module.teachers[0](floats(3, 4)),
    "weights of a teacher in a namespace": lambda module: module.space.teacher.weight.data.mul_(0.5),
    "a metric in a list": lambda module: module.metrics[0].update(1.0),
    "an entry of a long list": lambda module: module.long[1499].append(1),
    "variables of a hook": lambda module: module.net(floats(2, 4)),
    "a parametrization": lambda module: nn.utils.parametrizations.weight_norm(module.net[0]),
    "a submodule replaced": lambda module: module.net.__setitem__(1, nn.Identity()),
    "a submodule more": lambda module: module.net.append(nn.Identity()),
}

every_act = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Holding]:
    made = seeded(lambda: Holding(tmp_path))
    yield made
    made.file.close()
    Base.shared.clear(), Holding.everywhere.clear()
    Own.count = Base.count
    Holding.total = 0
    if hasattr(Holding, "late"):
        del Holding.late


@pytest.mark.long
@every_act
def test_a_change_is_put_back(module: Holding, act: Callable[[Holding], Any]) -> None:
    before = held(module), module.told()
    with muted(module):
        call_step(module, lambda module, _: act(module), None)
    assert (held(module), module.told()) == before


@pytest.mark.long
@every_act
def test_an_evaluation_puts_a_change_back(module: Holding, act: Callable[[Holding], Any]) -> None:
    before = held(module), module.told()
    with isolated(module):
        act(module)
    assert (held(module), module.told()) == before


@pytest.mark.long
@every_act
def test_a_change_would_be_seen(module: Holding, act: Callable[[Holding], Any]) -> None:
    before = held(module), module.told()
    with torch.no_grad():
        act(module)
    assert (held(module), module.told()) != before


def test_variables_of_a_step_that_is_a_function_are_put_back(module: Holding) -> None:
    count, told = counting()
    before = told()

    def step(_: nn.Module, batch: int) -> int:
        count()
        return batch

    with muted(module, step=step):
        assert call_step(module, step, 3) == 3
        assert told() != before
    assert told() == before


def test_a_generator_is_not_advanced_and_the_step_is_told(module: Holding) -> None:
    module.stream = (value for value in range(3))
    with pytest.raises(IrreversibleStep, match="takes an entry from a generator, which cannot be put back"):
        with muted(module):
            call_step(module, lambda module, _: next(module.stream), None)
    assert next(module.stream) == 0


def test_a_generator_that_the_step_leaves_alone_is_no_hindrance(module: Holding) -> None:
    module.stream = (value for value in range(3))
    with muted(module):
        assert call_step(module, lambda module, _: module.net(floats(2, 4)).shape, None) == (2, 3)


def test_messages_of_the_modules_own_are_not_repeated(module: Holding, caplog: pytest.LogCaptureFixture) -> None:
    with muted(module):
        call_step(module, lambda module, _: module.messages.warning("again"), None)
    assert caplog.records == []
    module.messages.warning("once")
    assert [record.message for record in caplog.records] == ["once"]


def write_past_pytorch(module: Holding, _: Any) -> None:
    module.net[0].weight.detach().numpy()[:] = 0


def write_in_a_thread(module: Holding, _: Any) -> None:
    thread = threading.Thread(target=module.net[0].weight.detach().zero_)
    thread.start()
    thread.join()


@pytest.mark.parametrize("step", [write_past_pytorch, write_in_a_thread])
def test_copies_of_all_weights_undo_what_no_operation_of_pytorch_shows(module: Holding, step: Any) -> None:
    before = held(module)
    with muted(module):
        call_step(module, step, None)
    assert held(module) == before


@pytest.mark.parametrize("step", [write_past_pytorch, write_in_a_thread])
def test_without_copies_those_writes_would_stay(module: Holding, step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_copies, "LARGEST_WEIGHTS", 0)
    before = held(module)
    with muted(module) as guard:
        call_step(module, step, None)
    assert held(module) != before
    assert guard.written == []


@pytest.mark.parametrize("size", [3, 10_000_000])
def test_arrays_of_data_are_not_copied(module: Holding, size: int) -> None:
    module.own.array = np.zeros(size)
    found = any(value is module.own.array for value in reach.reachable(module))
    assert found == (size == 3)


def test_the_search_ends(module: Holding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "LARGEST_REACH", 50)
    assert len(list(reach.reachable(module))) == 1 + 50


def test_the_search_does_not_enter_what_belongs_to_others(module: Holding) -> None:
    data = torch.utils.data.TensorDataset(floats(4, 4))
    module.loader = torch.utils.data.DataLoader(data)
    module.worker = threading.Thread(target=print)
    found = list(map(id, reach.reachable(module)))
    assert not {id(data), id(data.tensors[0]), id(module.loader), id(module.worker), id(vars(module.loader))} & {*found}


def test_a_proxy_whose_object_is_gone_is_no_hindrance(module: Holding) -> None:
    gone = Own()
    module.own.parent = weakref.proxy(gone)
    del gone
    with muted(module):
        assert call_step(module, lambda *_: 3, None) == 3


def test_a_proxy_stays_usable(module: Holding) -> None:
    module.proxy = weakref.proxy(module.own)
    with muted(module):
        assert call_step(module, lambda module, _: module.proxy.values, None) == {"a": [1]}
