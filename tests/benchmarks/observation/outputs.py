"""What models return, and what a step does with it before the loss."""

from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, Net, User, by_name, dicts, flags, named, values
from torch import Tensor, nn
from torch.nn import functional


class LossInside(nn.Module):
    """Computes the loss itself when it gets labels, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, image, text, y=None, **others):
        logits = self.net(image, text)
        return logits if y is None else (functional.cross_entropy(logits, y), logits)


class LossAndLogits(User):
    def __init__(self):
        super().__init__()
        self.model = LossInside()

    def step(self, batch):
        loss, _ = self.model(**batch)
        return loss


class NeedsLabels(User):
    """The forward needs labels, and returns the loss alone."""

    def forward(self, image, text, y):
        return functional.cross_entropy(self.net(image, text), y)

    def step(self, batch):
        return self(batch["image"], batch["text"], batch["y"])


class SharedStep(User):
    """A step for all stages that returns loss and logits."""

    def shared_step(self, batch):
        logits = self.net(batch["image"], batch["text"])
        return functional.cross_entropy(logits, batch["y"]), logits

    def step(self, batch):
        return self.shared_step(batch)[0]

    def validation_step(self, batch, batch_idx):
        loss, logits = self.shared_step(batch)
        hits = (logits.argmax(-1) == batch["y"]).float().mean()
        self.log_dict({"val_loss": loss, "val_accuracy": hits}, batch_size=16)


class FeaturesFirst(User):
    """Returns (features, logits); the features have as many columns as there are classes."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, CLASSES)

    def forward(self, image, text):
        features = self.net.features(image, text)
        return self.project(features), self.net.head(features)

    def step(self, batch):
        _, logits = self(batch["image"], batch["text"])
        return functional.cross_entropy(logits, batch["y"])


class OtherNames(User):
    """A dict whose first entry is an embedding and whose scores are not called logits."""

    def forward(self, batch):
        features = self.net.features(batch["image"], batch["text"])
        return {"embedding": features, "out": {"cls": self.net.head(features)}}

    def step(self, batch):
        return functional.cross_entropy(self(batch)["out"]["cls"], batch["y"])


@dataclass
class Output:
    hidden: Tensor
    prediction: Tensor


class DataclassOutput(User):
    def forward(self, image, text):
        features = self.net.features(image, text)
        return Output(features, self.net.head(features))

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]).prediction, batch["y"])


class LastPosition(User):
    """Scores at every position; the step reads the last."""

    def __init__(self):
        super().__init__()
        self.state = nn.GRU(8, 8, batch_first=True)

    def forward(self, image, text):
        hidden, _ = self.state(self.net.text(text) * self.net.image(image.flatten(1)).unsqueeze(1))
        return self.net.head(hidden)

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"])[:, -1], batch["y"])


class Squeezed(User):
    def __init__(self):
        super().__init__(1)

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        logits = self(batch["image"], batch["text"]).squeeze(-1)
        return functional.binary_cross_entropy_with_logits(logits, batch["y"])


class FirstColumn(User):
    """Two columns; only the first is a score."""

    def __init__(self):
        super().__init__(2)

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.mse_loss(self(batch["image"], batch["text"])[:, 0], batch["y"])


class Temperature(User):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.5))

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]) / self.temperature, batch["y"])


class Prior(User):
    """A prior over the classes, by the example's word, is added in the step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("prior", torch.randn(20, CLASSES, generator=torch.Generator().manual_seed(5)))

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        logits = self(batch["image"], batch["text"]) + self.prior[batch["text"][:, 0]]
        return functional.cross_entropy(logits, batch["y"])


class SigmoidInside(User):
    def __init__(self):
        super().__init__(1)

    def forward(self, image, text):
        return torch.sigmoid(self.net(image, text)).squeeze(1)

    def step(self, batch):
        return functional.binary_cross_entropy(self(batch["image"], batch["text"]), batch["y"])


class SoftmaxInside(User):
    def forward(self, image, text):
        return self.net(image, text).softmax(-1)

    def step(self, batch):
        return functional.nll_loss(self(batch["image"], batch["text"]).log(), batch["y"])


class LogSoftmaxInside(User):
    def forward(self, image, text):
        return functional.log_softmax(self.net(image, text), -1)

    def step(self, batch):
        return nn.NLLLoss()(self(batch["image"], batch["text"]), batch["y"])


def tempered(module: Any, batch: Any) -> Tensor:
    return by_name(module, batch) / module.temperature


def with_prior(module: Any, batch: Any) -> Tensor:
    return by_name(module, batch) + module.prior[batch["text"][:, 0]]


def last_position(module: Any, batch: Any) -> Tensor:
    return module(batch["image"], batch["text"])[:, -1]


def with_flags() -> list[Any]:
    return dicts(y=flags())


def with_values() -> list[Any]:
    return dicts(y=values())


CASES: list[Case] = [
    named(
        "(loss, logits)",
        "outputs",
        LossAndLogits,
        scores=lambda module, batch: module.model.net(batch["image"], batch["text"]),
    ),
    named("labels needed by forward", "outputs", NeedsLabels),
    named("a shared step", "outputs", SharedStep),
    named("(features, logits)", "outputs", FeaturesFirst),
    named("a dict with other names", "outputs", OtherNames),
    named("a dataclass as output", "outputs", DataclassOutput),
    named("[:, -1]", "outputs", LastPosition, scores=last_position),
    named("squeeze", "outputs", Squeezed, batches=with_flags, task="binary"),
    named(
        "[:, 0]",
        "outputs",
        FirstColumn,
        batches=with_values,
        scores=lambda module, batch: by_name(module, batch)[:, 0],
        task="regression",
    ),
    named("a temperature", "outputs", Temperature, scores=tempered),
    named("a prior added", "outputs", Prior, scores=with_prior),
    named("sigmoid inside", "outputs", SigmoidInside, batches=with_flags, task="binary"),
    named("softmax inside", "outputs", SoftmaxInside),
    named("log_softmax inside", "outputs", LogSoftmaxInside),
]
