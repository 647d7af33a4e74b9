"""What has misled earlier ways of finding the outputs, and what must not be measured at all."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.losses import Criterion
from benchmarks.observation.parts import CLASSES, COUNT, SIZE, Net, User, by_name, dicts, generator, named, values
from torch import Tensor, nn
from torch.nn import functional


class Bank(User):
    """A memory is looked up by the examples' indices, beside the labels' lookup."""

    def __init__(self):
        super().__init__()
        self.register_buffer("difficulty", torch.rand(COUNT, generator=generator(7)) + 0.5)

    def step(self, batch):
        own = self.net(batch["image"], batch["text"]).log_softmax(-1)
        loss = -own.gather(1, batch["y"].unsqueeze(1)).squeeze(1)
        return (loss * self.difficulty[batch["index"]]).mean()


class LateWeights(User):
    """A written-out loss meets the labels first and the sample weights last."""

    def step(self, batch):
        own = self.net(batch["image"], batch["text"]).log_softmax(-1)
        return -(own.gather(1, batch["y"].unsqueeze(1)).squeeze(1) * batch["weight"]).mean()


class EarlyWeights(User):
    """The sample weights meet the log-probabilities before the labels do."""

    def step(self, batch):
        own = self.net(batch["image"], batch["text"]).log_softmax(-1) * batch["weight"].unsqueeze(1)
        return -own.gather(1, batch["y"].unsqueeze(1)).mean()


def cox(z: Tensor, batch: Any) -> Tensor:
    """Return the partial likelihood of a survival model: examples are compared with those that live longer."""
    order = batch["time"].argsort(descending=True)
    risk, event = z.squeeze(1)[order], batch["event"][order]
    return -((risk - risk.logcumsumexp(0)) * event).mean()


def survival() -> list[Any]:
    return dicts(time=values().abs(), event=torch.randint(2, (COUNT,), generator=generator(8)))


class Sampling(User):
    """Features are sampled in evaluation too."""

    def forward(self, image, text):
        features = self.net.features(image, text)
        return self.net.head(features + torch.randn_like(features))

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]), batch["y"])


def with_its_noise(module: Any, batch: Any, outputs: Tensor) -> Tensor:
    """Return scores with the noise of the features, which adds the same to the scores of all rows."""
    exact = by_name(module, batch)
    return exact + (outputs - exact).mean(0)


class BatchStatistics(User):
    """Features are normalised by the batch's own statistics."""

    def forward(self, image, text):
        features = functional.batch_norm(self.net.features(image, text), None, None, training=True)
        return self.net.head(features)

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]), batch["y"])


class OneByOne(User):
    """The loss is called example by example."""

    def step(self, batch):
        logits = self.net(batch["image"], batch["text"])
        losses = [functional.cross_entropy(row, label) for row, label in zip(logits, batch["y"], strict=True)]
        return torch.stack(losses).mean()


class Segments(User):
    """A class for every pixel."""

    def __init__(self):
        super().__init__()
        self.pixels, self.words = nn.Conv2d(3, CLASSES, 1), nn.Embedding(20, CLASSES)

    def forward(self, image, text):
        return self.pixels(image) * self.words(text).mean(1)[:, :, None, None]

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]), batch["y"])


def of_pixels(module: Any, batch: Any) -> Tensor:
    return torch.einsum("bchw,bc->bchw", module.pixels(batch["image"]), module.words(batch["text"]).mean(1))


def masks() -> list[Any]:
    return dicts(y=torch.randint(CLASSES, (COUNT, 4, 4), generator=generator(9)))


class Tokens(User):
    """A word for every position, flattened, with -100 where there is none."""

    def __init__(self):
        super().__init__()
        self.words = nn.Linear(8, 20)

    def forward(self, image, text):
        return self.words(torch.tanh(self.net.text(text) + self.net.image(image.flatten(1)).unsqueeze(1)))

    def step(self, batch):
        logits = self(batch["image"], batch["text"])
        return functional.cross_entropy(logits.view(-1, 20), batch["y"].view(-1), ignore_index=-100)


def of_tokens(module: Any, batch: Any) -> Tensor:
    """Return ``(B, 20, T)``, one token after the other."""
    image = module.net.image(batch["image"].flatten(1))
    found = [module.words(torch.tanh(module.net.text(token) + image)) for token in batch["text"].unbind(1)]
    return torch.stack(found, 2)


def tokens() -> list[Any]:
    drawn = torch.randint(20, (COUNT, 5), generator=generator(10))
    return dicts(y=drawn.masked_fill(torch.rand(COUNT, 5, generator=generator(11)) < 0.3, -100))


class Iterating(User):
    """The step takes its batches from the loader itself."""

    def validation_step(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        self.log("val_loss", self.step(batch), batch_size=SIZE)

    def step(self, batch):
        return functional.cross_entropy(self.net(batch["image"], batch["text"]), batch["y"])


class Adapting(User):
    """The network adapts to every batch at test time."""

    def validation_step(self, batch, batch_idx):
        image, text = self.net.image(batch["image"].flatten(1)), self.net.text(batch["text"]).mean(1)
        with torch.no_grad():
            self.net.head.bias += batch["image"].mean((0, 2, 3))
        logits = self.net.head(torch.tanh(image + text + image * text))
        self.log("val_loss", functional.cross_entropy(logits, batch["y"]), batch_size=SIZE)

    def step(self, batch):
        return functional.cross_entropy(self.net(batch["image"], batch["text"]), batch["y"])


class Forced(User):
    """The scores depend on the labels."""

    def __init__(self):
        super().__init__()
        self.previous = nn.Embedding(CLASSES, CLASSES)

    def step(self, batch):
        logits = self.net(batch["image"], batch["text"]) + self.previous(batch["y"].flip(0))
        return functional.cross_entropy(logits + self.previous(batch["y"]), batch["y"])


class Autoencoder(User):
    """What is predicted is a modality itself."""

    def __init__(self):
        super().__init__(48)

    def step(self, batch):
        return functional.mse_loss(self.net(batch["image"], batch["text"]), batch["image"].flatten(1))


class TwoCriteria(User):
    """A written-out loss of two networks that nothing tells apart."""

    def __init__(self):
        super().__init__()
        self.other = Net()

    def step(self, batch):
        y = batch["y"].unsqueeze(1)
        first, second = (net(batch["image"], batch["text"]).log_softmax(-1) for net in (self.net, self.other))
        return -(first.gather(1, y) + second.gather(1, y)).mean()


CASES: list[Case] = [
    named("a lookup by the examples' indices", "traps", Bank),
    named("sample weights after the labels", "traps", LateWeights),
    named("sample weights before the labels", "traps", EarlyWeights, expect="ask"),
    named(
        "Cox's partial likelihood",
        "traps",
        lambda: Criterion(cox, 1),
        batches=survival,
        scores=by_name,
        target=None,
        task="regression",
        expect="ask",
    ),
    named("sampling in evaluation", "traps", Sampling, drawn=with_its_noise),
    named("statistics of the batch", "no answer", BatchStatistics, scores=None, expect="refuse"),
    named("a loss for each example", "no answer", OneByOne, expect="refuse"),
    named("a class for every pixel", "positions", Segments, batches=masks, scores=of_pixels, by_position="y"),
    named("a word for every position", "positions", Tokens, batches=tokens, scores=of_tokens, by_position="y"),
    named("a step with dataloader_iter", "no answer", Iterating, expect="refuse"),
    named("weights that adapt in the step", "no answer", Adapting, scores=None, expect="refuse"),
    named("scores that depend on the labels", "no answer", Forced, scores=None, expect="ask"),
    named("a modality as target", "no answer", Autoencoder, scores=None, expect="ask"),
    named("two networks in one written-out loss", "no answer", TwoCriteria, scores=None, expect="ask"),
]
