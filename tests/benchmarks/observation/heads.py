"""Steps with several losses: which of their heads the monitor measures, and which it only names."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, SIZE, Net, User, classes, dicts, leaf, named, values
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy


class TwoTasks(User):
    """A class and a value, from one trunk."""

    def __init__(self):
        super().__init__()
        self.age = nn.Linear(8, 1)

    def forward(self, image, text):
        features = self.net.features(image, text)
        return {"kind": self.net.head(features), "age": self.age(features)}

    def step(self, batch):
        outputs = self(batch["image"], batch["text"])
        kind = functional.cross_entropy(outputs["kind"], batch["y"])
        return kind + 0.1 * functional.mse_loss(outputs["age"].squeeze(1), batch["age"])


class MeasuredTask(TwoTasks):
    """The value's loss comes first; the class is what the metric measures."""

    def __init__(self):
        super().__init__()
        self.accuracy = MulticlassAccuracy(CLASSES)

    def validation_step(self, batch, batch_idx):
        outputs = self(batch["image"], batch["text"])
        loss = functional.mse_loss(outputs["age"].squeeze(1), batch["age"])
        loss = loss + functional.cross_entropy(outputs["kind"], batch["y"])
        self.accuracy.update(outputs["kind"], batch["y"])
        self.log_dict({"val_loss": loss, "val_accuracy": self.accuracy}, batch_size=SIZE)


class Auxiliary(User):
    """Each modality has a head of its own, and their losses come first."""

    def __init__(self):
        super().__init__()
        self.of_image, self.of_text = nn.Linear(48, CLASSES), nn.Linear(8, CLASSES)

    def step(self, batch):
        image = self.of_image(batch["image"].flatten(1))
        text = self.of_text(self.net.text(batch["text"]).mean(1))
        alone = functional.cross_entropy(image, batch["y"]) + functional.cross_entropy(text, batch["y"])
        return 0.3 * alone + functional.cross_entropy(self.net(batch["image"], batch["text"]), batch["y"])


class Deep(User):
    """A loss at an early layer and at the last one, which the metric measures."""

    def __init__(self):
        super().__init__()
        self.early = nn.Linear(8, CLASSES)
        self.last = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, CLASSES))
        self.accuracy = MulticlassAccuracy(CLASSES)

    def forward(self, image, text):
        features = self.net.features(image, text)
        return self.early(features), self.last(features)

    def step(self, batch):
        early, last = self(batch["image"], batch["text"])
        if not self.training:
            self.accuracy(last, batch["y"])
        return 0.4 * functional.cross_entropy(early, batch["y"]) + functional.cross_entropy(last, batch["y"])


class Ensemble(User):
    """Two networks with a loss each, and nothing that tells them apart."""

    def __init__(self):
        super().__init__()
        self.other = Net()

    def step(self, batch):
        first, second = (net(batch["image"], batch["text"]) for net in (self.net, self.other))
        return functional.cross_entropy(first, batch["y"]) + functional.cross_entropy(second, batch["y"])


class Reconstruction(User):
    """The picture is reconstructed too; that loss comes first."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(8, 48)

    def step(self, batch):
        features = self.net.features(batch["image"], batch["text"])
        picture = functional.mse_loss(self.decoder(features), batch["image"].flatten(1))
        return picture + functional.cross_entropy(self.net.head(features), batch["y"])


class Span(User):
    """Start and end of an answer among the words."""

    def __init__(self):
        super().__init__()
        self.ends = nn.Linear(8, 2)

    def forward(self, image, text):
        words = self.net.text(text)
        return self.ends(words + words * self.net.image(image.flatten(1)).unsqueeze(1))

    def step(self, batch):
        start, end = self(batch["image"], batch["text"]).split(1, dim=-1)
        start, end = start.squeeze(-1), end.squeeze(-1)
        first = functional.cross_entropy(start, batch["start"])
        return (first + functional.cross_entropy(end, batch["end"])) / 2


class Distilled(User):
    """A loss against the labels, and one against a teacher."""

    def __init__(self):
        super().__init__()
        self.teacher = Net().requires_grad_(requires_grad=False)

    def step(self, batch):
        student = self.net(batch["image"], batch["text"])
        teacher = self.teacher(batch["image"], batch["text"])
        soft = functional.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")
        return soft + functional.cross_entropy(student, batch["y"])


class Experts(User):
    """Experts that a gate weighs, and a loss that keeps the gate balanced."""

    def __init__(self):
        super().__init__()
        self.experts, self.gate = nn.ModuleList([Net(), Net()]), nn.Linear(48, 2)

    def forward(self, image, text):
        weights = self.gate(image.flatten(1)).softmax(-1)
        votes = torch.stack([expert(image, text) for expert in self.experts], 1)
        return (weights.unsqueeze(2) * votes).sum(1), weights

    def step(self, batch):
        logits, weights = self(batch["image"], batch["text"])
        return functional.cross_entropy(logits, batch["y"]) + 0.1 * weights.mean(0).square().sum()


class MetricsOnly(User):
    """The validation updates a metric and computes no loss."""

    def __init__(self, outputs: int = CLASSES):
        super().__init__(outputs)
        self.accuracy = MulticlassAccuracy(CLASSES) if outputs > 1 else BinaryAccuracy()

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]), batch["y"])

    def given(self, logits: Tensor) -> Tensor:
        return logits

    def validation_step(self, batch, batch_idx):
        self.accuracy.update(self.given(self(batch["image"], batch["text"])), batch["y"])
        self.log("val_accuracy", self.accuracy, batch_size=SIZE)


class Softmaxed(MetricsOnly):
    def given(self, logits):
        return logits.softmax(-1)


class Argmaxed(MetricsOnly):
    def given(self, logits):
        return logits.argmax(-1)


class Thresholded(MetricsOnly):
    def __init__(self):
        super().__init__(1)

    def step(self, batch):
        logits = self(batch["image"], batch["text"])
        return functional.binary_cross_entropy_with_logits(logits.squeeze(1), batch["y"].float())

    def given(self, logits):
        return (torch.sigmoid(logits.squeeze(1)) > 0.5).long()


class CountedByHand(MetricsOnly):
    """The validation counts hits without any metric."""

    def validation_step(self, batch, batch_idx):
        guesses = self(batch["image"], batch["text"]).argmax(-1)
        self.log("val_accuracy", (guesses == batch["y"]).float().mean(), batch_size=SIZE)


def with_age() -> list[Any]:
    return dicts(y=classes(), age=values())


def spans() -> list[Any]:
    return dicts(start=classes(5), end=classes(5).flip(0))


def experts(module: Any, batch: Any) -> Tensor:
    return module(batch["image"], batch["text"])[0]


def last_layer(module: Any, batch: Any) -> Tensor:
    return module.last(module.net.features(batch["image"], batch["text"]))


def start(module: Any, batch: Any) -> Tensor:
    return module(batch["image"], batch["text"])[..., 0]


CASES: list[Case] = [
    named("two tasks", "heads", TwoTasks, batches=with_age, others=1),
    named("two tasks, one with a metric", "heads", MeasuredTask, batches=with_age, others=1),
    named("auxiliary unimodal heads", "heads", Auxiliary, others=2),
    named("deep supervision", "heads", Deep, scores=last_layer, others=1),
    named("an ensemble without a main head", "heads", Ensemble, scores=None, expect="ask"),
    named("an auxiliary reconstruction", "heads", Reconstruction, others=1),
    named("start and end", "heads", Span, batches=spans, scores=start, target=leaf("start"), others=1),
    named("a teacher's loss too", "heads", Distilled),
    named("experts and a balance loss", "heads", Experts, scores=experts),
    named("a metric of logits", "metrics", MetricsOnly),
    named("a metric of probabilities", "metrics", Softmaxed),
    named("a metric of classes", "metrics", Argmaxed),
    named(
        "a metric of decisions",
        "metrics",
        Thresholded,
        batches=lambda: dicts(y=classes(2)),
        task="binary",
    ),
    named("hits counted by hand", "metrics", CountedByHand, expect="ask"),
]
