"""Models with several heads, and their steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MODALITIES = {"one": "one", "two": "two"}

COUNT = 96

LABELS = {"a": "label_a", "b": "label_b", "c": "label_c"}
"""Head -> leaf of its labels."""


def batch(count: int = COUNT, seed: int = 0) -> dict[str, Any]:
    """Return two inputs and the labels of three heads: classes of input one, of input two, and values of both.

    A leaf that no model reads makes an example large beside its encodings, so that chunks are as large for three heads.
    """
    generator = torch.Generator().manual_seed(seed)
    one, two = torch.randn(2, count, 3, generator=generator)
    values = {"label_a": one.argmax(1), "label_b": (two[:, 0] > 0).long(), "label_c": one[:, :2] * two[:, :2]}
    return {"one": one, "two": two, "large": torch.zeros(count, 64), **values}


@dataclass
class Outputs:
    """What a model returns that has named heads."""

    a: Tensor
    b: Tensor
    c: Tensor


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "dict": lambda a, b, c: {"a": a, "b": b, "c": c},
    "nested": lambda a, b, c: {"logits_of": {"a": a, "b": b}, "c": c},
    "dataclass": Outputs,
    "tuple": lambda a, b, c: (a, b, c),
    "list": lambda a, b, c: [a, b, c],
}
"""Form in which a model returns its heads -> how it is made."""


FORWARDS: list[int] = []
"""Number of rows of each forward; no attribute, since isolation would restore it."""


class ThreeHeads(nn.Module):
    """Head ``a`` reads input one, ``b`` input two, and ``c`` the product of both: pure interaction."""

    def __init__(self, form: str = "dict") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(3, 4)
        self.head_a, self.head_b, self.head_c = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(4, 2, bias=False)
        self.form = form

    def heads(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, v = self.first(one), self.second(two)
        return self.head_a(u), self.head_b(v), self.head_c((one[:, :1] * two[:, :1]).expand(-1, 4))

    def forward(self, one: Tensor, two: Tensor) -> Any:
        FORWARDS.append(len(one))
        return FORMS[self.form](*self.heads(one, two))


class OneHead(nn.Module):
    """The same model with one of its heads alone."""

    def __init__(self, model: ThreeHeads, place: int) -> None:
        super().__init__()
        self.model, self.place = model, place

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return self.model.heads(one, two)[self.place]


def three(outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the heads in what a model returned."""
    if isinstance(outputs, Outputs):
        return outputs.a, outputs.b, outputs.c
    if isinstance(outputs, Mapping):
        of = outputs.get("logits_of", outputs)
        return of["a"], of["b"], outputs["c"]
    return outputs[0], outputs[1], outputs[2]


def losses(outputs: Any, data: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the losses of the three heads."""
    a, b, c = three(outputs)
    classes = functional.cross_entropy(a, data["label_a"]) + functional.cross_entropy(b, data["label_b"])
    return classes + functional.mse_loss(c, data["label_c"])


def step(model: nn.Module, data: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of a batch, as a validation step does."""
    return losses(model(data["one"], data["two"]), data)
