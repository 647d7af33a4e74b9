"""Losses of one head: the function that the step calls, or its formula written out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, COUNT, User, classes, dicts, flags, generator, named, values
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Any], Tensor]
"""Outputs and the batch -> the loss."""


class Criterion(User):
    """A network and a loss of its outputs."""

    def __init__(self, loss: Loss, outputs: int = CLASSES) -> None:
        super().__init__(outputs)
        self.loss = loss

    def forward(self, image, text):
        return self.net(image, text)

    def step(self, batch):
        return self.loss(self(batch["image"], batch["text"]), batch)


def of_classes(name: str, loss: Loss, **others: Any) -> Case:
    """Return a case of classes that exclude one another."""
    return named(name, "classes", partial(Criterion, loss), **others)


def of_labels(name: str, loss: Loss, outputs: int, labels: Callable[[], Tensor], **others: Any) -> Case:
    """Return a case of labels between 0 and 1."""
    task = "binary" if outputs == 1 else "multilabel"
    return named(
        name,
        "labels",
        partial(Criterion, loss, outputs),
        batches=lambda: dicts(y=labels()),
        **({"task": task} | others),
    )


def of_values(name: str, loss: Loss, outputs: int, labels: Callable[[], Tensor], **others: Any) -> Case:
    """Return a case of values."""
    return named(
        name,
        "values",
        partial(Criterion, loss, outputs),
        batches=lambda: dicts(y=labels()),
        **({"task": "regression"} | others),
    )


def one_hot(batch: Any) -> Tensor:
    return functional.one_hot(batch["y"], CLASSES).float()


def soft() -> Tensor:
    """Return ``(N, C)`` mixed labels."""
    drawn = torch.rand(COUNT, CLASSES, generator=generator(4))
    return drawn / drawn.sum(1, keepdim=True)


NAMES = ["cat", "dog", "owl"]


def called() -> list[Any]:
    """Return batches whose labels are strings."""
    return dicts(y=[NAMES[index] for index in classes().tolist()])


def numbered(batch: Any) -> Tensor:
    return torch.tensor([NAMES.index(name) for name in batch["y"]])


def partly() -> list[Any]:
    """Return batches in which some examples have no label."""
    return dicts(y=classes().masked_fill(torch.arange(COUNT) % 5 == 0, -100))


def focal(logits: Tensor, batch: Any) -> Tensor:
    """Return the focal loss over a cross entropy for each example."""
    each = functional.cross_entropy(logits, batch["y"], reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def focal_of_labels(logits: Tensor, batch: Any) -> Tensor:
    """Return the focal loss of detection, over a BCE with one-hot labels."""
    y = one_hot(batch)
    each, p = functional.binary_cross_entropy_with_logits(logits, y, reduction="none"), torch.sigmoid(logits)
    return ((1 - (p * y + (1 - p) * (1 - y))) ** 2 * each).sum() / len(y)


def gathered(logits: Tensor, batch: Any) -> Tensor:
    return -functional.log_softmax(logits, -1).gather(1, batch["y"].unsqueeze(1)).mean()


def log_sum(logits: Tensor, batch: Any) -> Tensor:
    return (logits.logsumexp(1) - logits[torch.arange(len(logits)), batch["y"]]).mean()


def two_losses(logits: Tensor, batch: Any) -> Tensor:
    return functional.cross_entropy(logits, batch["y"]) + functional.multi_margin_loss(logits, batch["y"])


def weighted_by_example(logits: Tensor, batch: Any) -> Tensor:
    return (functional.cross_entropy(logits, batch["y"], reduction="none") * batch["weight"]).mean()


CROSS_ENTROPY: list[Case] = [
    of_classes("class weights", lambda z, b: functional.cross_entropy(z, b["y"], weight=torch.tensor([0.5, 1.0, 2.0]))),
    of_classes("label smoothing", lambda z, b: nn.CrossEntropyLoss(label_smoothing=0.1)(z, b["y"])),
    of_classes("soft labels", lambda z, b: functional.cross_entropy(z, b["y"]), batches=lambda: dicts(y=soft())),
    of_classes("one_hot in the step", lambda z, b: functional.cross_entropy(z, one_hot(b))),
    of_classes(
        "labels from 1",
        lambda z, b: functional.cross_entropy(z, b["y"] - 1),
        batches=lambda: dicts(y=classes() + 1),
        target=lambda batch: batch["y"] - 1,
    ),
    of_classes("strings", lambda z, b: functional.cross_entropy(z, numbered(b)), batches=called, target=numbered),
    of_classes("some without a label", lambda z, b: functional.cross_entropy(z, b["y"]), batches=partly),
    of_classes(
        "class indices as floats",
        lambda z, b: functional.cross_entropy(z, b["y"].long().squeeze(1)),
        batches=lambda: dicts(y=classes().float().unsqueeze(1)),
    ),
    of_classes("nll of log-probabilities", lambda z, b: functional.nll_loss(z.log_softmax(1), b["y"])),
    of_classes("sample weights", weighted_by_example),
    of_classes("two losses on one head", two_losses),
    of_classes("focal", focal),
    of_classes("focal of one-hot labels", focal_of_labels, target=one_hot),
    of_classes(
        "BCE of one-hot labels",
        lambda z, b: functional.binary_cross_entropy_with_logits(z, one_hot(b)),
        target=one_hot,
    ),
    of_classes("hinge", lambda z, b: functional.multi_margin_loss(z, b["y"])),
    of_classes("-log_softmax.gather", gathered),
    of_classes("logsumexp - z[arange, y]", log_sum),
]


def squeezed(loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return a loss of ``(B,)`` outputs and the label."""
    return lambda z, b: loss(z.squeeze(1), b["y"])


def soft_scores() -> Tensor:
    """Return VQA's scores: 0, 0.3, 0.6, 0.9 or 1 for each answer."""
    levels = torch.tensor([0.0, 0.0, 0.3, 0.6, 0.9, 1.0])
    return levels[torch.randint(6, (COUNT, 4), generator=generator(6))]


def levels(batch: Any) -> Tensor:
    """Return ``(B, 3)``: whether the grade is above 0, above 1, above 2."""
    return (batch["y"].unsqueeze(1) > torch.arange(3)).float()


def coral(z: Tensor, batch: Any) -> Tensor:
    """Return CORAL's loss written out."""
    y = levels(batch)
    return -(functional.logsigmoid(z) * y + (functional.logsigmoid(z) - z) * (1 - y)).sum(1).mean()


LABELS: list[Case] = [
    of_labels("BCE, one output", squeezed(functional.binary_cross_entropy_with_logits), 1, flags),
    of_labels(
        "BCE of an integer label",
        squeezed(lambda z, y: nn.BCEWithLogitsLoss()(z, y.float())),
        1,
        lambda: flags().long(),
    ),
    of_labels(
        "BCE, several outputs",
        lambda z, b: functional.binary_cross_entropy_with_logits(z, b["y"]),
        4,
        lambda: flags(4),
    ),
    of_labels(
        "VQA's soft scores",
        lambda z, b: functional.binary_cross_entropy_with_logits(z, b["y"], reduction="none").sum(1).mean(),
        4,
        soft_scores,
    ),
    of_labels(
        "BCE of probabilities",
        lambda z, b: functional.binary_cross_entropy(torch.sigmoid(z), b["y"]),
        4,
        lambda: flags(4),
    ),
    of_labels(
        "multilabel soft margin", lambda z, b: functional.multilabel_soft_margin_loss(z, b["y"]), 4, lambda: flags(4)
    ),
    of_labels(
        "ordinal levels by BCE",
        lambda z, b: functional.binary_cross_entropy_with_logits(z, levels(b)),
        3,
        lambda: classes(4),
        target=levels,
    ),
    of_labels("CORAL written out", coral, 3, lambda: classes(4), target=levels, expect="ask"),
    of_labels(
        "hinge of one output",
        squeezed(lambda z, y: (1 - z * (2 * y - 1)).clamp(min=0).mean()),
        1,
        flags,
        expect="ask",
    ),
]


def gaussian(z: Tensor, batch: Any) -> Tensor:
    return functional.gaussian_nll_loss(z[:, 0], batch["y"], functional.softplus(z[:, 1]) + 0.1)


QUANTILES = (0.1, 0.5, 0.9)


def pinball(z: Tensor, batch: Any) -> Tensor:
    """Return the quantile loss, column by column."""
    errors = [batch["y"] - z[:, column] for column in range(len(QUANTILES))]
    return sum(torch.maximum(q * e, (q - 1) * e).mean() for q, e in zip(QUANTILES, errors, strict=True))


def quantiles_by_l1(z: Tensor, batch: Any) -> Tensor:
    """Return a quantile loss that calls ``l1_loss`` for every column."""
    parts = [
        functional.l1_loss(z[:, c], batch["y"]) + (2 * q - 1) * (batch["y"] - z[:, c]).mean()
        for c, q in enumerate(QUANTILES)
    ]
    return sum(parts)


def standardised(z: Tensor, batch: Any) -> Tensor:
    return functional.mse_loss(z.squeeze(1), (batch["y"] - 1) / 2)


VALUES: list[Case] = [
    of_values("MSE", squeezed(functional.mse_loss), 1, values),
    of_values("MSE of several values", lambda z, b: nn.MSELoss()(z, b["y"]), 2, lambda: values(2)),
    of_values("L1", squeezed(functional.l1_loss), 1, values),
    of_values("Huber", squeezed(functional.huber_loss), 1, values),
    of_values("Gaussian NLL", gaussian, 2, values, scores=lambda m, b: m(b["image"], b["text"])[:, 0]),
    of_values("Poisson NLL", squeezed(functional.poisson_nll_loss), 1, lambda: values().abs().round()),
    of_values("quantiles", pinball, 3, values, expect="ask"),
    of_values("quantiles by l1_loss", quantiles_by_l1, 3, values, expect="ask"),
    of_values("a standardised target", standardised, 1, values, target=lambda batch: (batch["y"] - 1) / 2),
    of_values("squared errors written out", squeezed(lambda z, y: ((z - y) ** 2).mean()), 1, values),
]

CASES: list[Case] = [*CROSS_ENTROPY, *LABELS, *VALUES]
