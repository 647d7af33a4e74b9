"""Where the user has to say what is measured, the message ends in a line that works when it is pasted."""

import ast
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.steps import TwoNets, batch, observed, record_of
from torch import Tensor
from torch.nn import functional

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.observation import wording
from mviz_lightning.observation.heads import heads_of
from mviz_lightning.observation.observed_step import ObservedStep

STEPS: dict[str, tuple[int, Callable[[Any, Any], Tensor], dict[str, str]]] = {
    "a margin at the label": (
        5,
        lambda m, b: functional.cross_entropy(2 * (net(m, b) - functional.one_hot(b["y"], 5)), b["y"]),
        {"target": "y", "task": "multiclass"},
    ),
    "labels that the model reads": (
        5,
        lambda m, b: functional.cross_entropy(net(m, b) + b["y"].unsqueeze(1), b["y"]),
        {"target": "y", "task": "multiclass"},
    ),
    "rows sorted by a modality": (
        5,
        lambda m, b: in_order(m, b, b["text"].sum(1).argsort()),
        {"target": "y", "task": "multiclass"},
    ),
    "rows left out by their labels": (5, lambda m, b: in_order(m, b, b["y"] > 0), {"task": "multiclass"}),
    "a hinge": (
        1,
        lambda m, b: (1 - net(m, b).squeeze(1) * (2 * b["flag"] - 1)).clamp(min=0).mean(),
        {"target": "flag", "task": "binary"},
    ),
    "weights of the examples": (5, lambda m, b: (net(m, b) * b["weight"].unsqueeze(1)).logsumexp(1).mean(), {}),
    "two networks": (
        5,
        lambda m, b: functional.cross_entropy(net(m, b), b["y"]) + functional.cross_entropy(added(m, b), b["y"]),
        {"target": "y", "task": "multiclass"},
    ),
}


def net(m: Any, b: Any) -> Tensor:
    return m(b["image"], b["text"])


def added(m: Any, b: Any) -> Tensor:
    return m.image_net(b["image"]) + m.text_net(b["text"])


def in_order(m: Any, b: Any, order: Tensor) -> Tensor:
    return functional.cross_entropy(m(b["image"][order], b["text"][order]), b["y"][order])


def told(message: str) -> dict[str, Any]:
    """Return the arguments of the message's last line."""
    call = ast.parse(f"f({message.splitlines()[-1].strip()})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(one.arg): eval(ast.unparse(one.value), {"torch": torch}) for one in call.keywords}  # noqa: S307


@pytest.mark.parametrize(("outputs", "step", "arguments"), STEPS.values(), ids=STEPS)
def test_the_last_line_measures_the_scores(
    outputs: int, step: Callable[[Any, Any], Tensor], arguments: dict[str, str]
) -> None:
    module = TwoNets(step, outputs)
    data = batch(weight=torch.rand(20), flag=torch.arange(20) % 2)

    with pytest.raises(ConfigurationError) as raised:
        observed(module, data)

    given = told(str(raised.value))
    torch.testing.assert_close(given.pop("predict")(module, data), module(data["image"], data["text"]))
    assert given == arguments


def test_rows_that_the_step_orders_at_random_are_offered_as_they_come() -> None:
    module = TwoNets(lambda m, b: in_order(m, b, torch.randperm(len(b["y"]))), 5)
    data = batch()
    record = record_of(module, data)

    given = told(wording.of_picked_rows(heads_of(record)[0], record))

    torch.testing.assert_close(given.pop("predict")(module, data), module(data["image"], data["text"]))
    assert given == {"target": "y", "task": "multiclass"}


def test_rows_that_the_model_itself_orders_at_random_are_not_offered() -> None:
    module = TwoNets(lambda m, b: functional.cross_entropy(net(m, b), b["y"]), 5)
    forward = module.forward
    module.forward = lambda image, text: forward(image[torch.randperm(len(image))], text)
    record = record_of(module, batch())

    assert wording.of_picked_rows(heads_of(record)[0], record) == ""


def test_what_a_step_without_loss_computes_last_is_offered() -> None:
    module = TwoNets(lambda m, b: (net(m, b) * 2).argmax(1).tolist())
    data = batch()

    given = told(wording.unseen(record_of(module, data)))

    torch.testing.assert_close(given["predict"](module, data), 2 * module(data["image"], data["text"]))


def test_rows_are_offered_before_they_are_summed_up() -> None:
    module = TwoNets(lambda m, b: net(m, b).softmax(1).amax(1).mean())

    given = told(wording.unseen(record_of(module, batch())))

    torch.testing.assert_close(given["predict"](module, batch()), net(module, batch()))


CALLED: dict[str, tuple[Callable[[Any, Any], Any], set[str] | None]] = {
    "one of three": (lambda m, b: m.nets[1](b).argmax(1).tolist(), {"nets.1"}),
    "two whose rows end the step": (lambda m, b: (m.nets[0](b), m.nets[1](b)), set()),
    "one that another reads": (lambda m, b: m.head(m.nets[0](b)).argmax(1).tolist(), {"head"}),
    "none": (lambda m, b: None, None),
    "one, and then an error": (lambda m, b: m.nets[0](b).no_such_attribute, None),
}


class Fused(torch.nn.Module):
    """Encodes and joins the modalities of a whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 5))

    def forward(self, batch: Any) -> Tensor:
        return (batch["image"].sum(1, keepdim=True) * batch["text"]) @ self.weight


@pytest.mark.parametrize(("step", "names"), CALLED.values(), ids=CALLED)
def test_only_what_ends_the_step_may_stand_for_the_model(
    step: Callable[[Any, Any], Any], names: set[str] | None
) -> None:
    module = TwoNets(step)
    module.nets, module.head = torch.nn.ModuleList(Fused() for _ in range(3)), torch.nn.Linear(5, 2)
    try:
        record = record_of(module, batch())
    except AttributeError:
        record = None

    assert ObservedStep("validation_step", record).callable == names
