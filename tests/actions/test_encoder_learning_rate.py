"""EncoderLearningRate: a step is that of an optimizer with groups of its own, and nothing is left behind."""

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mviz_lightning import ConfigurationError
from mviz_lightning.actions import Alarms, EncoderLearningRate
from mviz_lightning.actions.hooks import in_every_step
from mviz_lightning.batch import parse_modalities

OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "Adam": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1),
    "AdamW": partial(torch.optim.AdamW, lr=0.01, amsgrad=True),
    "tensor": partial(torch.optim.Adam, lr=torch.tensor(0.01), foreach=False),
    "fused": partial(torch.optim.AdamW, lr=0.01, fused=True),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5),
    "Adagrad": partial(torch.optim.Adagrad, lr=0.1, lr_decay=0.1),
}
SCHEDULERS = {
    "exponential": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7),
    "lambda": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=10, cycle_momentum=False
    ),
}


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"image": nn.Linear(3, 2), "text": nn.Linear(3, 2), "head": nn.Linear(2, 1)})


def loss_of(module: nn.ModuleDict, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    image, text = torch.randn(2, 8, 3, generator=generator)
    return module["head"](module["image"](image).tanh() * module["text"](text).tanh()).square().mean()


def alarms(module: nn.Module, *optimizers: Any) -> Alarms:
    modalities = parse_modalities(["image", "text"])
    return Alarms(SimpleNamespace(optimizers=optimizers), module, modalities, ["text"], encoders={"text": ["text"]})


def trained(module: Any, optimizer: Any, schedule: Any = None, *, steps: int = 6, closure: bool = False) -> None:
    scheduler = schedule and schedule(optimizer)
    for step in range(steps):

        def backward(step: int = step) -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_of(module, step)
            loss.backward()
            return loss

        if not closure:
            backward()
        optimizer.step(backward if closure else None)
        if scheduler:
            scheduler.step()


def acting(action: EncoderLearningRate, module: nn.Module, optimizer: Any) -> Any:
    def enter(stack):
        stack.enter_context(action.during_step(optimizer, alarms(module, optimizer), 0))

    return in_every_step(optimizer, enter, lambda call, *_: call())


@pytest.mark.parametrize("closure", [False, True], ids=["step", "closure"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_groups_with_rates_of_their_own(name, closure):
    make, action = OPTIMIZERS[name], EncoderLearningRate(3, 0.5, encoders={"image": "image"})
    module, reference = model(), model()
    optimizer = make(module.parameters())
    rate = optimizer.param_groups[0]["lr"]
    with acting(action, module, optimizer):
        trained(module, optimizer, closure=closure)
    groups = [{"params": reference[part].parameters(), "lr": rate * factor} for part, factor in FACTORS.items()]
    trained(reference, make(groups), closure=closure)
    for left, right in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.equal(left, right)


FACTORS = {"image": 0.5, "text": 3, "head": 1}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_neither_undoes_nor_is_undone(kind):
    module, reference, alone = model(), model(), model()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    with acting(EncoderLearningRate(3), module, optimizer):
        trained(module, optimizer, SCHEDULERS[kind])
    plain = torch.optim.Adam(alone.parameters(), lr=0.01)
    trained(alone, plain, SCHEDULERS[kind])
    assert optimizer.param_groups[0]["lr"] == plain.param_groups[0]["lr"]  # what the scheduler wrote, to the bit
    own = torch.optim.Adam([{"params": reference[part].parameters()} for part in FACTORS], lr=0.01)
    scheduler = SCHEDULERS[kind](own)
    for step in range(6):
        own.zero_grad()
        loss_of(reference, step).backward()
        rates = [group["lr"] for group in own.param_groups]
        own.param_groups[1]["lr"] *= 3
        own.step()
        for group, rate in zip(own.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler.step()
    for left, right in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.equal(left, right)


def test_rates_that_a_closure_writes_are_read_and_stay():
    """As training steps do that warm up by hand: they run inside the optimizer's step."""
    module, optimizer = nn.ModuleDict({"text": nn.Linear(1, 1, bias=False)}), None
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)

    def closure():
        optimizer.param_groups[0]["lr"] = 0.25
        module["text"].weight.grad = torch.ones(1, 1)

    before = float(module["text"].weight.detach())
    with acting(EncoderLearningRate(2), module, optimizer):
        optimizer.step(closure)
    assert before - float(module["text"].weight.detach()) == pytest.approx(0.5)
    assert optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("groups", ["one", "mixed", "own"])
def test_groups_state_and_hooks_are_as_they_were(groups):
    module = model()
    chosen = {
        "one": [list(module.parameters())],
        "mixed": [[*module["text"].parameters(), module["head"].weight], [*module["image"].parameters()]],
        "own": [[*module["text"].parameters()], [*module["image"].parameters(), *module["head"].parameters()]],
    }[groups]
    optimizer = torch.optim.Adam([{"params": part, "lr": 0.01 * (1 + k)} for k, part in enumerate(chosen)])
    before = [(id(group), id(group["params"]), dict(group)) for group in optimizer.param_groups]
    layout, inside = copy.deepcopy(optimizer.state_dict()["param_groups"]), []
    with acting(EncoderLearningRate(3), module, optimizer):
        trained(module, optimizer, steps=2)
        inside = optimizer.state_dict()["param_groups"]  # a checkpoint while the alarm stands
    assert inside == optimizer.state_dict()["param_groups"] == layout
    after = [(id(group), id(group["params"]), dict(group)) for group in optimizer.param_groups]
    assert [one[:2] for one in after] == [one[:2] for one in before]
    assert all(left[2].keys() == right[2].keys() for left, right in zip(before, after, strict=True))
    assert [one[2]["lr"] for one in after] == [one[2]["lr"] for one in before]
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_a_step_that_fails_leaves_the_groups_together():
    module = model()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    context = acting(EncoderLearningRate(3), module, optimizer)
    context.__enter__()
    trained(module, optimizer, steps=1)
    with pytest.raises(RuntimeError, match="no such luck"):
        optimizer.step(unlucky)
    assert len(optimizer.param_groups) == 1  # a closure's error comes before the groups are split
    context.__exit__(None, None, None)
    assert optimizer.param_groups[0]["lr"] == 0.1


def unlucky() -> None:
    raise RuntimeError("no such luck")


def test_a_step_that_the_scaler_skips_changes_nothing():
    module = model()
    optimizer, scaler = torch.optim.AdamW(module.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    before = copy.deepcopy(module.state_dict())
    with acting(EncoderLearningRate(3), module, optimizer):
        scaler.scale(loss_of(module, 0)).backward()
        module["head"].weight.grad.fill_(float("inf"))
        scaler.step(optimizer)
        scaler.update()
        assert len(optimizer.param_groups) == 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": -1}, r"EncoderLearningRate\(factor=-1\): give a number, 0 or more"),
        ({"others": "none"}, r"EncoderLearningRate\(others='none'\): give a number"),
        ({"encoders": "image"}, r"encoders='image'\): give names of submodules by modality"),
        ({"encoders": {"image": []}}, "name one submodule or more a modality"),
    ],
)
def test_impossible_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        EncoderLearningRate(**arguments)


def test_names_that_the_model_or_the_monitor_lacks_are_refused():
    module = model()
    for encoders, message in (
        ({"sound": "text"}, r"choose among the modalities \['image', 'text'\]"),
        ({"text": "tower"}, r"has no such submodule; it has \['image', 'text', 'head'\]"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            EncoderLearningRate(encoders=encoders).require(alarms(module))


def test_what_cannot_work_says_why():
    module = model()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(ConfigurationError, match=r"no submodule was found that is used for image alone; name one"):
        EncoderLearningRate(others=0.1).during_step(optimizer, alarms(module), 0)
    with pytest.raises(ConfigurationError, match="LBFGS steps by copies"):
        EncoderLearningRate().during_step(torch.optim.LBFGS(module.parameters()), alarms(module), 0)
    module["text"].requires_grad_(False)
    with pytest.raises(ConfigurationError, match="all parameters of text are frozen"):
        EncoderLearningRate().during_step(optimizer, alarms(module), 0)
