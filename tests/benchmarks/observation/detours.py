"""Constants that move, labels by detours, and losses that a trace may miss or misread."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, COUNT, SIZE, Net, User, by_name, classes, dicts, named, values
from benchmarks.observation.surprises import Plain
from torch import Tensor, nn
from torch.nn import functional


class Refined(Plain):
    """Three rounds, each with what the last one gave."""

    def __init__(self):
        super().__init__()
        self.feedback = nn.Linear(CLASSES, 48)

    def logits(self, batch):
        logits = super().logits(batch)
        for _ in range(2):
            picture = batch["image"] + self.feedback(logits).view_as(batch["image"])
            logits = self.net(picture, batch["text"])
        return logits


class WarmUp(Plain):
    """The step's number of optimizer steps scales one part."""

    def logits(self, batch):
        words = self.net.head(self.net.text(batch["text"]).mean(1))
        return super().logits(batch) + min(1.0, self.global_step / 5) * words


def warmed_up(module: Any, batch: Any) -> Tensor:
    words = module.net.head(module.net.text(batch["text"]).mean(1))
    return by_name(module, batch) + min(1.0, module.global_step / 5) * words


class Centre(Plain):
    """A buffer that every training batch moves is taken off the logits."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(CLASSES))

    def logits(self, batch):
        logits = super().logits(batch) - self.centre
        if self.training:
            self.centre = self.centre.lerp(logits.detach().mean(0) + torch.arange(3.0), 0.5)
        return logits


class Replaced(Plain):
    """From the second epoch on, the network is another object."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.net = Net()


class ByDict(Plain):
    """Labels are looked up in a Python dict."""

    def labels(self, batch):
        known = {3: 1, 7: 0, 9: 2}
        return torch.tensor([known[int(code)] for code in batch["code"]])


class Twin(Plain):
    """The labels pass through Python, and another leaf equals them in the first batch."""

    def labels(self, batch):
        return torch.tensor(batch["y"].tolist())


class SoftByKL(Plain):
    def step(self, batch):
        return functional.kl_div(self.logits(batch).log_softmax(-1), batch["y"], reduction="batchmean")


class OnePosition(Plain):
    """Scores of a sequence of one position are flattened, as a language model's are."""

    def step(self, batch):
        logits = self.logits(batch).unsqueeze(1)
        return functional.cross_entropy(logits.view(-1, CLASSES), batch["y"].unsqueeze(1).view(-1))


class OverBaseline(User):
    """The network predicts what is to be added to a baseline of the batch."""

    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        return functional.mse_loss(self.net(batch["image"], batch["text"]).squeeze(1) + batch["weight"], batch["y"])


class BoundedValue(User):
    """A value between 0 and 1, by a sigmoid, with a squared error."""

    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        value = torch.sigmoid(self.net(batch["image"], batch["text"])).squeeze(1)
        return functional.mse_loss(value, batch["weight"] - 0.5)


class InBatchNegatives(User):
    """Does the text belong to the picture? The negatives are other examples' texts."""

    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        own = self.net(batch["image"], batch["text"])
        others = self.net(batch["image"], batch["text"].roll(1, 0))
        y = torch.cat([torch.ones(len(own)), torch.zeros(len(own))])
        return functional.binary_cross_entropy_with_logits(torch.cat([own, others]).squeeze(1), y)


class PseudoLabels(Plain):
    """What a teacher decides is the label."""

    def __init__(self):
        super().__init__()
        self.teacher = Net()

    def labels(self, batch):
        return self.teacher(batch["image"], batch["text"]).argmax(-1)


class FusedLoss(torch.autograd.Function):
    """A cross entropy with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(logits, y)
        return functional.cross_entropy(logits, y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        logits, y = ctx.saved_tensors
        return gradients[0] * (logits.softmax(-1) - functional.one_hot(y, CLASSES)) / len(y), None


class Fused(Plain):
    def step(self, batch):
        return FusedLoss.apply(self.logits(batch), batch["y"])


def coded() -> list[Any]:
    return dicts(code=torch.tensor([7, 3, 9])[classes()])


def of_code(batch: Any) -> Tensor:
    return (batch["code"] == 3).long() + 2 * (batch["code"] == 9).long()


def twins() -> list[Any]:
    y = classes()
    return dicts(noisy=torch.where(torch.arange(COUNT) < SIZE, y, (y + 1) % CLASSES), y=y)


EPOCHS = {"max_epochs": 2}

CASES: list[Case] = [
    named("refined in rounds", "detours", Refined, scores=lambda module, batch: module.logits(batch)),
    named("a warm-up by steps", "detours", WarmUp, scores=warmed_up, trainer=EPOCHS),
    named("a centre that moves", "detours", Centre, scores=lambda m, b: by_name(m, b) - m.centre, trainer=EPOCHS),
    named("a network replaced later", "detours", Replaced, trainer=EPOCHS),
    named("labels by a dict", "detours", ByDict, batches=coded, target=of_code),
    named("labels through Python, with a twin", "detours", Twin, batches=twins),
    named("soft labels by kl_div", "detours", SoftByKL, batches=lambda: dicts(y=values(3).softmax(1))),
    named("one position, flattened", "detours", OnePosition),
    named(
        "over a baseline of the batch",
        "detours",
        OverBaseline,
        batches=lambda: dicts(y=values()),
        scores=lambda module, batch: by_name(module, batch).squeeze(1) + batch["weight"],
        task="regression",
    ),
    named(
        "a value by a sigmoid",
        "detours",
        BoundedValue,
        scores=lambda module, batch: torch.sigmoid(by_name(module, batch)),
        target=lambda batch: batch["weight"] - 0.5,
        task="regression",
    ),
    named("negatives of the batch", "detours", InBatchNegatives, target=None, task=None, expect="ask"),
    named("a teacher's decisions as labels", "detours", PseudoLabels, scores=None, target=None, expect="ask"),
    named("a loss with its own backward", "detours", Fused, expect="ask"),
]
