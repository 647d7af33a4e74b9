"""The user's own step is called once more and leaves no trace; and every trace that is looked for would be there."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers.batches import floats, seeded
from helpers.held import held
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed import _functional_collectives as functional_collectives
from torch.nn.functional import cross_entropy
from torch.testing._internal.distributed.fake_pg import FakeStore
from torchmetrics import MeanMetric
from torchmetrics.aggregation import CatMetric

from mviz_lightning.engine import tensor_copies
from mviz_lightning.engine.muted_step import StopStep, call_step, muted
from mviz_lightning.engine.write_guard import CollectiveInStep


class Meter:
    """A plain object with a sum, a count, and the parts that it was made of."""

    def __init__(self) -> None:
        self.total, self.count = torch.zeros(2), 0
        self.parts: list[Any] = []
        self.by_class: dict[str, list[float]] = {"a": [1.0]}

    def update(self, value: Tensor) -> None:
        self.total += value.detach()[:2]
        self.count += 1
        self.parts.append(value)
        self.by_class["a"].append(2.0)


@dataclass
class Nested:
    meter: Meter = field(default_factory=Meter)
    metrics: list[Any] = field(default_factory=lambda: [MeanMetric()])
    history: np.ndarray = field(default_factory=lambda: np.zeros(3))
    draws: np.random.RandomState = field(default_factory=lambda: np.random.RandomState(0))


@dataclass(slots=True)
class Slotted:
    count: int = 0
    seen: list[int] = field(default_factory=list)
    total: Tensor = field(default_factory=lambda: torch.zeros(2))


class Average:
    """Averaged weights as they are written by hand: swapped in for the validation."""

    def __init__(self, module: nn.Module) -> None:
        self.shadow = [parameter.detach() * 0.5 for parameter in module.parameters()]
        self.kept: list[Tensor] = []

    def swap_in(self, module: nn.Module) -> None:
        self.kept = [parameter.detach().clone() for parameter in module.parameters()]
        for parameter, average in zip(module.parameters(), self.shadow, strict=True):
            parameter.data.copy_(average)

    def swap_out(self, module: nn.Module) -> None:
        for parameter, kept in zip(module.parameters(), self.kept, strict=True):
            parameter.data.copy_(kept)

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        self.swap_in(module)
        try:
            yield
        finally:
            self.swap_out(module)


Act = Callable[["Stepping"], Any]


class Stepping(LightningModule):
    """Does one thing before its loss."""

    def __init__(self, act: Act = lambda _: None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        self.registered = MeanMetric()
        self.register_buffer("steps", torch.zeros(()))
        self.act = act
        self.calls = 0
        self.outputs: list[Tensor] = []
        self.metrics = {"plain": MeanMetric(), "listed": [CatMetric()]}
        self.meter = Meter()
        self.meters = {"val": [Meter()]}
        self.nested, self.slotted = Nested(), Slotted()
        self.average = Average(self.net)
        self.nets = [nn.BatchNorm1d(4)]
        self.recent: deque[Any] = deque([Meter()], maxlen=3)
        self.chance = random.Random(0)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.act(self)
        return cross_entropy(self.net(batch["x"]), batch["y"])


def stepping(act: Act = lambda _: None) -> Stepping:
    return seeded(lambda: Stepping(act)).train()


BATCH = {"x": floats(6, 4), "y": torch.tensor([0, 1, 2, 0, 1, 2])}


def load_average(module: Stepping) -> None:
    module.net.load_state_dict({name: value * 0.5 for name, value in module.net.state_dict().items()})


def rescale_data(module: Stepping) -> None:
    for parameter in module.net.parameters():
        parameter.data = parameter.data * 0.5


def step_optimizer(module: Stepping) -> None:
    with torch.enable_grad():
        optimizer = torch.optim.Adam(module.net.parameters())
        module.net(BATCH["x"]).sum().backward()
        optimizer.step()


def foreach(module: Stepping) -> None:
    torch._foreach_mul_([parameter.detach() for parameter in module.net.parameters()], 0.5)


def through_a_view(module: Stepping) -> None:
    module.net[0].weight.detach()[1, 2:].zero_()


def out_variant(module: Stepping) -> None:
    weight = module.net[0].weight.detach()
    torch.mul(weight, 2, out=weight)


WEIGHT_ACTS: dict[str, Act] = {
    "an average swapped in by .data.copy_": lambda module: module.average.swap_in(module.net),
    "an average swapped in by load_state_dict": load_average,
    "other .data": rescale_data,
    "an optimizer's step": step_optimizer,
    "a foreach operation": foreach,
    "a write through a view": through_a_view,
    "an out= operation": out_variant,
    "a weight set to another storage": lambda module: module.net[0].weight.set_(torch.ones(4, 4)),
}

ACTS: dict[str, Act] = {
    **WEIGHT_ACTS,
    "an attribute": lambda module: setattr(module, "calls", 1),
    "a list": lambda module: module.outputs.append(torch.ones(1)),
    "a buffer": lambda module: module.steps.add_(1),
    "a registered metric": lambda module: module.registered.update(2.0),
    "a metric in a dict": lambda module: module.metrics["plain"].update(2.0),
    "a metric in a list in a dict": lambda module: module.metrics["listed"][0].update(2.0),
    "a plain object": lambda module: module.meter.update(torch.ones(2)),
    "a plain object's attribute": lambda module: setattr(module.meter, "count", 5),
    "a plain object's new attribute": lambda module: setattr(module.meter, "late", 5),
    "a plain object's tensor of other data": lambda module: setattr(module.meter.total, "data", torch.ones(2)),
    "a plain object's tensor resized": lambda module: module.meter.total.resize_(50).fill_(3),
    "a plain object in containers": lambda module: module.meters["val"][0].update(torch.ones(2)),
    "a plain object in a deque": lambda module: module.recent[0].update(torch.ones(2)),
    "a plain object in a plain object": lambda module: module.nested.meter.update(torch.ones(2)),
    "a metric in a plain object": lambda module: module.nested.metrics[0].update(2.0),
    "an array in a plain object": lambda module: np.add(module.nested.history, 1, out=module.nested.history),
    "a random state in a plain object": lambda module: module.nested.draws.rand(),
    "a random state": lambda module: module.chance.random(),
    "slots": lambda module: setattr(module.slotted, "count", 2),
    "a list in slots": lambda module: module.slotted.seen.append(2),
    "a tensor in slots": lambda module: module.slotted.total.add_(1),
    "a net in a list": lambda module: module.nets[0](floats(4, 4)),
    "an average's shadow": lambda module: module.average.shadow[0].mul_(0.9),
    "a gradient": lambda module: setattr(module.net[0].weight, "grad", torch.ones(4, 4)),
}

every_act = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
every_weight_act = pytest.mark.parametrize("act", WEIGHT_ACTS.values(), ids=WEIGHT_ACTS.keys())


@every_act
def test_a_step_leaves_no_trace(act: Act) -> None:
    module = stepping(act)
    before = held(module)
    with muted(module):
        assert call_step(module, "validation_step", BATCH).isfinite() or act in WEIGHT_ACTS.values()
    assert held(module) == before


@every_act
def test_without_muting_a_step_leaves_a_trace(act: Act) -> None:
    module = stepping(act)
    before = held(module)
    with torch.no_grad():
        act(module)
    assert held(module) != before


@every_act
def test_a_step_that_fails_leaves_no_trace(act: Act) -> None:
    def fail(module: Stepping) -> None:
        act(module)
        raise ZeroDivisionError

    module = stepping(fail)
    before = held(module)
    with pytest.raises(ZeroDivisionError), muted(module):
        call_step(module, "validation_step", BATCH)
    assert held(module) == before


@every_act
def test_a_step_that_is_stopped_leaves_no_trace(act: Act) -> None:
    def stop(module: Stepping) -> None:
        act(module)
        raise StopStep

    module = stepping(stop)
    before = held(module)
    with muted(module):
        assert call_step(module, "validation_step", BATCH) is None
    assert held(module) == before


@every_weight_act
def test_the_weights_that_a_step_changes_are_named(act: Act) -> None:
    module = stepping(act)
    with muted(module) as guard:
        call_step(module, "validation_step", BATCH)
    assert "net.0.weight" in guard.written
    assert set(guard.written) <= {name for name, _ in module.named_parameters()}


def test_a_step_that_changes_no_weights_names_none_and_copies_none() -> None:
    module = stepping(lambda module: module.meter.update(torch.ones(2)))
    with muted(module) as guard:
        call_step(module, "validation_step", BATCH)
    assert guard.written == []


def test_an_average_that_is_swapped_in_and_out_around_the_loss_is_what_the_loss_sees_and_is_named() -> None:
    seen: list[Tensor] = []

    def step(module: Stepping, _: Any) -> None:
        with module.average.swapped(module.net):
            seen.append(module.net[0].weight.clone())
            raise StopStep

    module = stepping()
    weight = module.net[0].weight.detach().clone()
    with muted(module) as guard:
        call_step(module, step, BATCH)
    assert torch.equal(seen[0], weight * 0.5)
    assert torch.equal(module.net[0].weight, weight)
    assert guard.written == [name for name, _ in module.named_parameters()]


def test_a_step_that_writes_no_weight_leaves_their_versions() -> None:
    module = stepping()
    states = [(parameter.data_ptr(), parameter._version) for parameter in module.parameters()]
    with muted(module):
        call_step(module, "validation_step", BATCH)
    assert [(parameter.data_ptr(), parameter._version) for parameter in module.parameters()] == states


def test_no_weight_of_a_large_model_is_copied_unless_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_copies, "LARGEST_WEIGHTS", 0)
    copied: list[int] = []
    clone = Tensor.clone
    monkeypatch.setattr(Tensor, "clone", lambda tensor: (copied.append(tensor.data_ptr()), clone(tensor))[1])
    module = stepping(lambda module: module.net[2].bias.detach().zero_())
    weights = {parameter.data_ptr() for parameter in module.net.parameters()}
    with muted(module):
        assert not weights & {*copied}
        call_step(module, "validation_step", BATCH)
    assert weights & {*copied} == {module.net[2].bias.data_ptr()}


def test_a_step_draws_the_same_numbers_for_the_same_seed() -> None:
    module, drawn = stepping(), []
    for seed in (3, 3, 4):
        with muted(module, seed=seed):
            drawn.append(call_step(module, lambda *_: torch.rand(2), BATCH))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_step_may_take_gradients() -> None:
    def differentiate(module: Stepping, batch: Any) -> Tensor:
        with torch.enable_grad():
            x = batch["x"].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(module.net(x).sum(), x, create_graph=True)
            return gradient.norm()

    module = stepping()
    with muted(module):
        assert call_step(module, differentiate, BATCH) > 0


def test_a_muted_step_computes_what_the_step_computes() -> None:
    module = stepping()
    with torch.no_grad():
        expected = module.eval().validation_step(BATCH, 0)
    with muted(module):
        assert torch.equal(call_step(module, "validation_step", BATCH), expected)


@contextmanager
def processes(count: int) -> Iterator[None]:
    """Be the first of several processes; collectives of this backend return at once."""
    dist.init_process_group("fake", rank=0, world_size=count, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def swallowed(module: Stepping) -> None:
    try:
        dist.barrier()
    except Exception:
        module.calls += 1


def synchronised(module: Stepping) -> None:
    module.registered.update(1.0)
    module.registered.compute()


COLLECTIVES: dict[str, Act] = {
    "all_reduce": lambda _: dist.all_reduce(torch.ones(2)),
    "all_gather": lambda _: dist.all_gather([torch.ones(2), torch.ones(2)], torch.ones(2)),
    "barrier": lambda _: dist.barrier(),
    "broadcast": lambda _: dist.broadcast(torch.ones(2), 0),
    "objects": lambda _: dist.all_gather_object([None, None], "object"),
    "send": lambda _: dist.send(torch.ones(2), 1),
    "functional": lambda _: functional_collectives.all_reduce(torch.ones(2), "sum", dist.group.WORLD),
    "native functional": lambda _: torch.ops._c10d_functional.all_reduce(torch.ones(2), "sum", "0"),
    "a metric's compute": synchronised,
    "one whose error is caught": swallowed,
}

every_collective = pytest.mark.parametrize("act", COLLECTIVES.values(), ids=COLLECTIVES.keys())


@every_collective
def test_collectives_raise_where_other_processes_would_have_to_take_part(act: Act) -> None:
    module = stepping(act)
    before = held(module)
    with processes(2):
        with pytest.raises(CollectiveInStep, match="the step calls .*c10d.* of torch.distributed"), muted(module):
            call_step(module, "validation_step", BATCH)
        dist.barrier()
    assert held(module) == before


@pytest.mark.parametrize("act", [COLLECTIVES["all_reduce"], COLLECTIVES["objects"]], ids=["tensor", "object"])
def test_collectives_run_in_a_world_of_one_process(act: Act) -> None:
    with processes(1), muted(module := stepping(act)):
        assert call_step(module, "validation_step", BATCH).isfinite()


def test_a_step_without_collectives_runs_beside_other_processes() -> None:
    with processes(2), muted(module := stepping()):
        assert call_step(module, "validation_step", BATCH).isfinite()


class Signatures(nn.Module):
    def two(self, batch, batch_idx):
        return batch_idx

    def batch_only(self, batch):
        return batch

    def loader(self, batch, batch_idx, dataloader_idx):
        return batch_idx, dataloader_idx

    def optional_loader(self, batch, batch_idx, dataloader_idx=7):
        return batch_idx, dataloader_idx

    def other_option(self, batch, batch_idx, prefix="val"):
        return batch_idx, prefix

    def other_names(self, images, number):
        return number

    def anything(self, *args):
        return args[1:]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("two", 3),
        ("batch_only", "batch"),
        ("loader", (3, 1)),
        ("optional_loader", (3, 1)),
        ("other_option", (3, "val")),
        ("other_names", 3),
        ("anything", (3,)),
        (lambda module, batch: (type(module).__name__, batch), ("Signatures", "batch")),
    ],
)
def test_a_step_gets_what_its_signature_takes(step: Any, expected: Any) -> None:
    assert call_step(Signatures(), step, "batch", batch_idx=3, dataloader_idx=1) == expected


def test_a_module_without_a_trainer_is_muted_too() -> None:
    module = nn.Linear(4, 3)
    with muted(module):
        assert call_step(module, lambda module, batch: module(batch["x"]).shape, BATCH) == (6, 3)


class Recorder(Meter):
    """Stands for a writer that the module opened itself."""

    log_metrics = Meter.update


Recorder.__module__ = "wandb.sdk.wandb_run"


def test_a_logger_of_the_modules_own_does_nothing_inside() -> None:
    module = stepping(lambda module: module.recorder.log_metrics(torch.ones(2)))
    module.recorder = Recorder()
    with muted(module):
        call_step(module, "validation_step", BATCH)
    assert type(module.recorder) is Recorder
    assert module.recorder.count == 0
