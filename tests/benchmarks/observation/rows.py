"""Steps that reorder, split, repeat or leave out the rows of a batch."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import COUNT, User, by_name, classes, dicts, generator, named, values
from torch import Tensor
from torch.nn import functional


class Sorted(User):
    """Rows are sorted by their length, as packed sequences were; logits and labels stay in that order."""

    def step(self, batch):
        order = (batch["text"] > 9).sum(1).argsort(descending=True, stable=True)
        logits = self.net(batch["image"][order], batch["text"][order])
        return functional.cross_entropy(logits, batch["y"][order])


class Shuffled(User):
    """Rows are in a random order in every step."""

    def step(self, batch):
        order = torch.randperm(len(batch["y"]))
        logits = self.net(batch["image"][order], batch["text"][order])
        return functional.cross_entropy(logits, batch["y"][order])


class Halves(User):
    """The batch goes through the network in two halves."""

    def step(self, batch):
        parts = zip(batch["image"].chunk(2), batch["text"].chunk(2), strict=True)
        return functional.cross_entropy(torch.cat([self.net(image, text) for image, text in parts]), batch["y"])


class Views(User):
    """Logits are averaged over a picture and its mirror image."""

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        logits = [self(image, batch["text"]) for image in (batch["image"], batch["image"].flip(-1))]
        return functional.cross_entropy(torch.stack(logits).mean(0), batch["y"])


class Choices(User):
    """Every choice of an example is a row of the network."""

    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        count = batch["choices"].shape[1]
        rows = self.net(batch["image"].repeat_interleave(count, 0), batch["choices"].flatten(0, 1))
        return functional.cross_entropy(rows.view(-1, count), batch["y"])


class LeftOut(User):
    """Examples without a label leave the batch before the loss."""

    def step(self, batch):
        logits, known = self.net(batch["image"], batch["text"]), batch["y"] >= 0
        return functional.cross_entropy(logits[known], batch["y"][known])


class Ignored(User):
    """The loss leaves out examples with the label -1."""

    def step(self, batch):
        return functional.cross_entropy(self.net(batch["image"], batch["text"]), batch["y"], ignore_index=-1)


class LeftOutBefore(User):
    """Examples without a label leave the batch before the network."""

    def step(self, batch):
        known = batch["y"] >= 0
        logits = self.net(batch["image"][known], batch["text"][known])
        return functional.cross_entropy(logits, batch["y"][known])


class OfTwoLeaves(User):
    """The class comes from two leaves."""

    def __init__(self):
        super().__init__(6)

    def step(self, batch):
        y = 2 * batch["kind"] + batch["half"]
        return functional.cross_entropy(self.net(batch["image"], batch["text"]), y)


class Liked(User):
    """A label is a threshold on a rating."""

    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        liked = (batch["rating"] > 1).float()
        return functional.binary_cross_entropy_with_logits(self.net(batch["image"], batch["text"]).squeeze(1), liked)


class Margin(User):
    """A margin is taken off the logit of the label, as losses of face recognition do."""

    def step(self, batch):
        logits = self.net(batch["image"], batch["text"])
        margins = 0.5 * functional.one_hot(batch["y"], logits.shape[1])
        return functional.cross_entropy(2 * (logits - margins), batch["y"])


class KeptForTheEnd(User):
    """The validation keeps logits and labels, and counts hits at the end of the epoch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def step(self, batch):
        return functional.cross_entropy(self.net(batch["image"], batch["text"]), batch["y"])

    def validation_step(self, batch, batch_idx):
        self.kept.append((self.net(batch["image"], batch["text"]), batch["y"]))

    def on_validation_epoch_end(self):
        logits, y = map(torch.cat, zip(*self.kept, strict=True))
        self.log("val_accuracy", (logits.argmax(-1) == y).float().mean())
        self.kept.clear()


class Halved(KeptForTheEnd):
    """One half of the validation's batches has no loss: it is another task's turn."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if batch_idx % 2:
            self.log("val_loss", self.step(batch), batch_size=len(batch["y"]))


def partly() -> list[Any]:
    """Return batches in which -1 marks an example without a label."""
    return dicts(y=classes().masked_fill(torch.arange(COUNT) % 5 == 0, -1))


def unlabelled(batch: Any) -> Tensor:
    return batch["y"].masked_fill(batch["y"] < 0, -100)


def choices() -> list[Any]:
    return dicts(y=classes(4), choices=torch.randint(1, 20, (COUNT, 4, 5), generator=generator(12)))


def of_choices(module: Any, batch: Any) -> Tensor:
    scores = [module.net(batch["image"], choice) for choice in batch["choices"].unbind(1)]
    return torch.cat(scores, 1)


def of_views(module: Any, batch: Any) -> Tensor:
    return (by_name(module, batch) + module.net(batch["image"].flip(-1), batch["text"])) / 2


CASES: list[Case] = [
    named("sorted by length", "rows", Sorted, expect="ask"),
    named("in a random order", "rows", Shuffled, expect="ask"),
    named("in two halves", "rows", Halves),
    named("averaged over two views", "rows", Views, scores=of_views),
    named(
        "a row for every choice",
        "rows",
        Choices,
        batches=choices,
        modalities={"image": "image", "text": "choices"},
        scores=of_choices,
    ),
    named("some left out after the network", "rows", LeftOut, batches=partly, target=unlabelled),
    named("some left out by the loss", "rows", Ignored, batches=partly, target=unlabelled),
    named("some left out before the network", "rows", LeftOutBefore, batches=partly, target=unlabelled, expect="ask"),
    named(
        "a class of two leaves",
        "rows",
        OfTwoLeaves,
        batches=lambda: dicts(kind=classes(), half=classes(2).flip(0)),
        target=lambda batch: 2 * batch["kind"] + batch["half"],
    ),
    named(
        "a threshold on a rating",
        "rows",
        Liked,
        batches=lambda: dicts(rating=values()),
        target=lambda batch: (batch["rating"] > 1).float(),
        task="binary",
    ),
    named("a margin at the label", "rows", Margin, expect="ask"),
    named("logits kept for the epoch's end", "rows", KeptForTheEnd, expect="ask"),
    named("a loss in every other batch", "rows", Halved, expect="ask"),
]
