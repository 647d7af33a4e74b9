"""Code for a tensor of the step: what is spelled gives the same tensor where it is pasted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.steps import TwoNets, batch, record_of
from torch import Tensor
from torch.nn import functional

from mviz_lightning.observation.heads import heads_of
from mviz_lightning.observation.spelling import NotSpellableError, Speller


def net(m: Any, b: Any) -> Tensor:
    return m(b["image"], b["text"])


SPELLED: dict[str, tuple[Callable[[Any, Any], Tensor], str]] = {
    "a sum in a product": (lambda m, b: (net(m, b) - 0.5) * 1.5, "(NET - 0.5) * 1.5"),
    "a product in a sum": (lambda m, b: net(m, b) * 1.5 - 0.5, "NET * 1.5 - 0.5"),
    "a difference on the right": (lambda m, b: 1 - (net(m, b) - 2), "1 - (NET - 2)"),
    "a division on the left": (lambda m, b: 3 / (2 * net(m, b)), "3 / (NET * 2)"),
    "a method of a sum": (lambda m, b: (net(m, b).abs() + 1e-9).log(), "(NET.abs() + 1e-09).log()"),
    "a negative power": (lambda m, b: (-net(m, b)) ** 2, "(-NET) ** 2"),
    "constants": (lambda m, b: net(m, b) + torch.arange(5), "NET + torch.arange(5)"),
    "two sizes": (lambda m, b: net(m, b) * torch.ones(1, 5), "NET * torch.ones(1, 5)"),
    "named arguments": (lambda m, b: net(m, b).clamp(min=-1).softmax(dim=-1), "NET.clamp(min=-1).softmax(dim=-1)"),
    "a list of tensors": (
        lambda m, b: torch.stack([net(m, b), net(m, b) * 2]).mean(0),
        "torch.stack([NET, NET * 2]).mean(0)",
    ),
    "one of several": (lambda m, b: net(m, b).chunk(2, 1)[0], "NET.chunk(2, 1)[0]"),
    "slices": (lambda m, b: net(m, b)[:, 1:4:2], "NET[:, 1:4:2]"),
    "an ellipsis and a new axis": (lambda m, b: net(m, b)[..., None, :2].squeeze(1), "NET[..., None, :2].squeeze(1)"),
    "a property": (lambda m, b: (net(m, b).T * 2).T, "(NET.T * 2).T"),
    "a product of matrices": (lambda m, b: net(m, b) @ torch.eye(5), "NET @ torch.eye(5)"),
    "a comparison": (lambda m, b: net(m, b) * (net(m, b) > 0), "NET * (NET > 0)"),
    "a functional": (lambda m, b: functional.softplus(net(m, b)), "torch.nn.functional.softplus(NET)"),
    "in place": (lambda m, b: net(m, b).sub_(0.5).mul_(1.5).clamp_(0), "((NET - 0.5) * 1.5).clamp(0)"),
    "a number type": (lambda m, b: net(m, b).to(torch.float64), "NET.to(torch.float64)"),
    "a shape": (lambda m, b: net(m, b).reshape((20, 5)), "NET.reshape([20, 5])"),
}


@pytest.mark.parametrize(("compute", "code"), SPELLED.values(), ids=SPELLED)
def test_pasted_code_computes_the_same_tensor(compute: Callable[[Any, Any], Tensor], code: str) -> None:
    module, data = TwoNets(lambda m, b: functional.mse_loss(compute(m, b), b["z"])), batch()
    data["z"] = torch.randn_like(compute(module, data).detach().float())

    record = record_of(module, data)
    root = heads_of(record)[0].event.scores[0].node
    spelled = Speller(record.code, model="module", whole=True).tensor(root)

    assert spelled.replace('module(batch["image"], batch["text"])', "NET") == code
    found = eval(spelled, {"torch": torch, "module": module, "batch": data})  # noqa: S307 - the code is our own
    torch.testing.assert_close(found, compute(module, data))


def test_a_target_of_a_functional_is_spelled_as_people_write_it() -> None:
    module = TwoNets(lambda m, b: functional.cross_entropy(net(m, b), functional.one_hot(b["y"], 5).float()))
    record = record_of(module, batch())

    spelled = Speller(record.code, calls=False).tensor(heads_of(record)[0].event.target[0].node)

    assert spelled == 'functional.one_hot(batch["y"], 5).float()'


def test_a_layer_in_a_sequence_is_spelled_by_its_place() -> None:
    module = TwoNets(lambda m, b: functional.cross_entropy(m.layers[1](net(m, b)), b["y"]))
    module.layers = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.Linear(5, 5))
    record = record_of(module, batch())

    spelled = Speller(record.code).tensor(heads_of(record)[0].root)

    assert spelled == 'self.layers[1](self(batch["image"], batch["text"]))'


def test_what_was_made_outside_pytorch_cannot_be_pasted() -> None:
    prior = torch.ones(5)
    module = TwoNets(lambda m, b: functional.cross_entropy(net(m, b) + prior, b["y"]))
    record = record_of(module, batch())
    root = heads_of(record)[0].root

    assert Speller(record.code).tensor(root) == 'self(batch["image"], batch["text"]) + a tensor of the step'
    with pytest.raises(NotSpellableError):
        Speller(record.code, whole=True).tensor(root)
