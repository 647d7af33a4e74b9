"""Ways in which a step calls its model with a batch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import Net, User, named, ordered, tuples
from torch import Tensor, nn
from torch.nn import functional


class ByName(User):
    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self(image=batch["image"], text=batch["text"]), batch["y"])


class ByOrder(User):
    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        image, text, y = batch
        return functional.cross_entropy(self(image, text), y)


class Swapped(User):
    """The parameters stand in another order than the leaves."""

    def forward(self, words, pixels):
        return self.net(pixels, words)

    def step(self, batch):
        image, text, y = batch
        return functional.cross_entropy(self(text, image), y)


class WholeBatch(User):
    def forward(self, batch):
        return self.net(batch["image"], batch["text"])

    def step(self, batch):
        return functional.cross_entropy(self(batch), batch["y"])


class Unpacked(User):
    def forward(self, image, text, y=None, **others):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self(**batch), batch["y"])


class AllButLast(User):
    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self(*batch[:-1]), batch[-1])


class NoForward(User):
    def step(self, batch):
        return functional.cross_entropy(self.net(batch["image"], batch["text"]), batch["y"])


class ForwardDirectly(User):
    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self.forward(batch["image"], batch["text"]), batch["y"])


class PlainMethod(User):
    """A method of the module's own that is no forward."""

    def classify(self, image, text):
        return self.net.head(self.net.features(image, text))

    def step(self, batch):
        return functional.cross_entropy(self.classify(batch["image"], batch["text"]), batch["y"])


class Encoders(User):
    """Encoders called one by one."""

    def step(self, batch):
        image, text = self.net.image(batch["image"].flatten(1)), self.net.text(batch["text"]).mean(1)
        return functional.cross_entropy(self.net.head(torch.tanh(image + text + image * text)), batch["y"])


class FusedLogits(User):
    """Two models whose logits are added."""

    def __init__(self):
        super().__init__()
        self.other = Net()

    def step(self, batch):
        logits = self.net(batch["image"], batch["text"]) + 2 * self.other(batch["image"], batch["text"])
        return functional.cross_entropy(logits, batch["y"])


def fused(module: Any, batch: Any) -> Tensor:
    return module.net(batch["image"], batch["text"]) + 2 * module.other(batch["image"], batch["text"])


class Normalised(User):
    """Pictures are normalised in the step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, -0.3, 0.2]).reshape(3, 1, 1))

    def step(self, batch):
        return functional.cross_entropy(self.net((batch["image"] - self.mean) / 0.5, batch["text"]), batch["y"])


class Popped(User):
    """The labels leave the batch before the call."""

    def forward(self, image, text, index, weight):
        return self.net(image, text)

    def step(self, batch):
        y = batch.pop("y")
        return functional.cross_entropy(self(**batch), y)


class Container(User):
    """The model takes a list."""

    def __init__(self):
        super().__init__()
        self.model = Joined()

    def step(self, batch):
        return functional.cross_entropy(self.model([batch["text"], batch["image"]]), batch["y"])


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, inputs):
        text, image = inputs
        return self.net(image, text)


class Functional(User):
    """The network's function is called with averaged weights."""

    def __init__(self):
        super().__init__()
        self.average = {name: value.detach() * 0.5 for name, value in self.net.named_parameters()}

    def step(self, batch):
        weights = dict(self.net.named_parameters()) if self.training else self.average
        logits = torch.func.functional_call(self.net, weights, (batch["image"], batch["text"]))
        return functional.cross_entropy(logits, batch["y"])


def with_average(module: Any, batch: Any) -> Tensor:
    return torch.func.functional_call(module.net, module.average, (batch["image"], batch["text"]))


@dataclass
class Examples:
    image: Tensor
    text: Tensor
    y: Tensor


class OfDataclass(User):
    def step(self, batch):
        return functional.cross_entropy(self.net(batch.image, batch.text), batch.y)


class Pair(NamedTuple):
    inputs: dict[str, Tensor]
    y: Tensor


class OfNested(User):
    """Inputs in a dict, inside a named tuple."""

    def forward(self, inputs):
        return self.net(inputs["image"], inputs["text"])

    def step(self, batch):
        return functional.cross_entropy(self(batch.inputs), batch.y)


def nested() -> list[Pair]:
    return [Pair({"image": image, "text": text}, y) for image, text, y in tuples()]


CASES: list[Case] = [
    named("leaves by name", "calls", ByName),
    ordered("leaves by order", "calls", ByOrder),
    ordered("parameters in another order", "calls", Swapped),
    named("the whole batch", "calls", WholeBatch),
    named("the batch unpacked", "calls", Unpacked),
    ordered("all but the last", "calls", AllButLast),
    named("no forward", "calls", NoForward),
    named("self.forward()", "calls", ForwardDirectly),
    named("a method that is no forward", "calls", PlainMethod),
    named("encoders one by one", "calls", Encoders),
    named("logits fused in the step", "calls", FusedLogits, scores=fused),
    named(
        "normalised in the step",
        "calls",
        Normalised,
        scores=lambda module, batch: module.net((batch["image"] - module.mean) / 0.5, batch["text"]),
    ),
    named("labels popped", "calls", Popped),
    named("a list as argument", "calls", Container, scores=lambda module, batch: module.model.net(*pair(batch))),
    named("a functional call", "calls", Functional, scores=with_average),
    named(
        "a dataclass as batch",
        "calls",
        OfDataclass,
        batches=lambda: [Examples(*batch) for batch in tuples()],
        scores=lambda module, batch: module.net(batch.image, batch.text),
        target=lambda batch: batch.y,
    ),
    named(
        "inputs nested in the batch",
        "calls",
        OfNested,
        batches=nested,
        modalities={"image": "inputs.image", "text": "inputs.text"},
        scores=lambda module, batch: module.net(**batch.inputs),
        target=lambda batch: batch.y,
    ),
]


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    return batch["image"], batch["text"]
