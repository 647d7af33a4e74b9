"""Models with several heads: what each head is given, and what is known of it."""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from helpers.batches import floats, integers, seeded
from lightning.pytorch import LightningModule
from outputs.truth import Grids, Score, Scores
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    linear,
    mse_loss,
)
from torch.utils.data import DataLoader, StackDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from transformers.modeling_outputs import QuestionAnsweringModelOutput
from transformers.utils import ModelOutput

from mviz_lightning.functional import Task

NUMBER = 24
"""Examples that are recombined: all of the validation data."""

SMALL = {"num_examples": NUMBER, "group_size": 12, "reference": NUMBER}
MODALITIES = {"image": "image", "text": "text"}


class Heads(nn.Module):
    """Two encoders, and heads that read both, or one alone. In float64, so that sums agree to 1e-12."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)
        sizes = {"kind": 4, "colour": 3, "size": 1, "tags": 4, "place": 6, "end": 6, "early": 4, "twist": 3, "box": 2}
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.randn(size, 4)) for name, size in sizes.items()})
        self.colour_head = nn.Linear(4, 3)
        self.double()

    def both(self, image: Tensor, text: Tensor) -> Tensor:
        left, right = torch.tanh(self.image(image)), torch.tanh(self.text(text))
        return left + right + 4 * left * right

    def of(self, name: str, image: Tensor, text: Tensor) -> Tensor:
        """Return the scores of a head ``(B, C)``; what a head reads is in its name."""
        return linear(self.hidden(name, image, text), self.weights[name])

    def hidden(self, name: str, image: Tensor, text: Tensor) -> Tensor:
        if name in ALONE:
            return torch.tanh(self.image(image) if ALONE[name] == "image" else self.text(text))
        return self.both(image, text)


ALONE = {"colour": "image", "size": "text"}
"""Heads that read one modality."""


@dataclass(frozen=True)
class Head:
    """What is known of a head.

    Attributes:
        scores: (network, image, text) -> ``(B, C)``, each example's own.
        labels: Entry of the batch.
        task: What the scores stand for.
        score: Outputs and labels -> the score that is right; None for the default of the task.
    """

    scores: str | Callable[[Any, Tensor, Tensor], Tensor]
    labels: str | Callable[[Mapping[str, Tensor]], Tensor]
    task: Task = "multiclass"
    score: Score | None = None

    def truth(self, module: Any, data: Mapping[str, Tensor], groups: Tensor) -> Grids:
        labels = data[self.labels] if isinstance(self.labels, str) else self.labels(data)
        arguments = (data["image"], data["text"], labels, groups, self.task, self.score)
        return Grids.of(self._scores(module.net), *arguments)

    def _scores(self, net: Heads) -> Scores:
        given = self.scores
        if isinstance(given, str):
            return lambda image, text: net.of(given, image, text)
        return lambda image, text: given(net, image, text)


@dataclass(frozen=True)
class HeadsKind:
    """A step with several heads.

    Attributes:
        step: (module, batch) -> loss.
        forward: (network, image, text) -> what the module returns.
        heads: Prefix of the head's keys, ``""`` for the main head -> what is known of it.
        metrics: The user's metrics, which become attributes of the module.
        options: Arguments of the monitor.
        expects: How a warning begins that is right.
    """

    step: Callable[[Any, Any], Tensor]
    heads: Mapping[str, Head]
    metrics: Callable[[], Mapping[str, nn.Module]] = dict
    options: Mapping[str, Any] = field(default_factory=dict)
    forward: Callable[[Any, Tensor, Tensor], Any] = lambda net, image, text: net.of("kind", image, text)
    expects: str = ""


class Model(LightningModule):
    """The network behind the step of a kind; its forward is what the step makes of it."""

    def __init__(self, kind: Any, net: Callable[[], nn.Module] = Heads) -> None:
        super().__init__()
        self.kind, self.net = kind, seeded(net, 3)
        for name, metric in getattr(kind, "metrics", dict)().items():
            setattr(self, name, metric)

    def forward(self, image: Tensor, text: Tensor) -> Any:
        forward = self.kind.forward or self.kind.maps
        return forward(self.net, image, text)

    def validation_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        loss: Tensor = self.kind.step(self, batch)
        self.log("val_loss", loss, batch_size=1)
        return loss

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return self.kind.step(self, batch)  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def data(seed: int = 0, number: int = NUMBER) -> dict[str, Tensor]:
    """Return images, texts and the labels of all heads."""
    image, text = (floats(number, size, seed=seed + place).double() for place, size in enumerate((6, 5)))
    colour = (image[:, 0] > 0).long() + (image[:, 1] > 0.5).long()
    partly = colour.clone()
    partly[::3] = -100
    return {
        "image": image,
        "text": text,
        "kind": 2 * (image[:, 0] > 0).long() + (text[:, 0] > 0).long(),
        "colour": colour,
        "partly": partly,
        "twist": integers(3, number, seed=seed + 9),
        "size": text[:, 1] + 0.1 * text[:, 2],
        "partly_sized": torch.where(torch.arange(number) % 4 == 1, torch.nan, text[:, 1]),
        "tags": (image[:, :4] + text[:, :4] > 0).double(),
        "place": integers(6, number, seed=seed + 7),
        "end": integers(6, number, seed=seed + 8),
        "box": torch.stack([image[:, 2] + text[:, 2], 10 * text[:, 3]], 1),
    }


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    return tuple(DataLoader(StackDataset(**data(seed)), 8) for seed in (100, 0))  # type: ignore[return-value]


def all_of(module: Any, batch: Any, *names: str) -> dict[str, Tensor]:
    return {name: module.net.of(name, batch["image"], batch["text"]) for name in names}


LOSSES = {"size": lambda found, label: mse_loss(found[:, 0], label), "tags": binary_cross_entropy_with_logits}


def losses(scores: Mapping[str, Tensor], batch: Any) -> Tensor:
    """Return the sum of the losses of heads, by name of the head and of its labels."""
    return sum(LOSSES.get(name, cross_entropy)(found, batch[name]) for name, found in scores.items())  # type: ignore[return-value]


@dataclass
class Prediction:
    kind: Tensor
    colour: Tensor


Named = namedtuple("Named", ["kind", "colour"])  # noqa: PYI024 - users have untyped ones too


@dataclass
class TwoLogits(ModelOutput):
    kind_logits: Any = None
    colour_logits: Any = None


def called(read: Callable[[Any], Mapping[str, Tensor]]) -> Callable[[Any, Any], Tensor]:
    """Return a step that reads the heads from what forward returns, by the names of their labels."""
    return lambda module, batch: losses(read(module(batch["image"], batch["text"])), batch)


def scores(*names: str) -> Callable[[Heads, Tensor, Tensor], dict[str, Tensor]]:
    return lambda net, image, text: {name: net.of(name, image, text) for name in names}


def packed(pack: Callable[[Tensor, Tensor], Any]) -> Callable[[Heads, Tensor, Tensor], Any]:
    """Return a forward that returns the heads ``kind`` and ``colour`` in a container."""
    return lambda net, image, text: pack(net.of("kind", image, text), net.of("colour", image, text))


KIND, COLOUR = Head("kind", "kind"), Head("colour", "colour")


def two(found: Any) -> dict[str, Tensor]:
    return {"kind": found[0], "colour": found[1]}


def in_the_step(module: Any, batch: Any) -> Tensor:
    """The scores have no name: they are products with weights, in the step."""
    return losses(all_of(module, batch, "kind", "colour"), batch)


def by_a_submodule(module: Any, batch: Any) -> Tensor:
    """The second head is what a submodule returns, which names it."""
    found = module.net.colour_head(torch.tanh(module.net.image(batch["image"])))
    return losses(all_of(module, batch, "kind"), batch) + cross_entropy(found, batch["colour"])


def late_fusion(module: Any, batch: Any) -> Tensor:
    """Three heads for one label, two of them from one modality each."""
    found = module(batch["image"], batch["text"])
    return sum(cross_entropy(found[name], batch["colour"]) for name in ("both", "image_only", "text_only"))  # type: ignore[return-value]


def fused(net: Heads, image: Tensor, text: Tensor) -> dict[str, Tensor]:
    left, right = net.of("colour", image, text), linear(torch.tanh(net.text(text)), net.weights["twist"])
    return {"image_only": left, "text_only": right, "both": left + right}


def question_answering(net: Heads, image: Tensor, text: Tensor) -> QuestionAnsweringModelOutput:
    return QuestionAnsweringModelOutput(
        start_logits=net.of("place", image, text), end_logits=net.of("end", image, text)
    )


def start_and_end(module: Any, batch: Any) -> Tensor:
    found = module(batch["image"], batch["text"])
    return (cross_entropy(found.start_logits, batch["place"]) + cross_entropy(found.end_logits, batch["end"])) / 2


def partly_labelled(module: Any, batch: Any) -> Tensor:
    found = module(batch["image"], batch["text"])
    known = ~batch["partly_sized"].isnan()
    size = mse_loss(found["size"].squeeze(1)[known], batch["partly_sized"][known])
    return cross_entropy(found["kind"], batch["kind"]) + cross_entropy(found["colour"], batch["partly"]) + size


def in_one_index(module: Any, batch: Any) -> Tensor:
    """One index picks the labelled rows and the column."""
    found = module(batch["image"], batch["text"])
    known = ~batch["partly_sized"].isnan()
    size = mse_loss(found["size"][known, 0], batch["partly_sized"][known])
    return cross_entropy(found["kind"], batch["kind"]) + size


def own_keys(module: Any, batch: Any) -> Tensor:
    found = module(batch["image"], batch["text"])
    return (
        cross_entropy(found["kind"], batch["kind"])
        + cross_entropy(found["total"], batch["colour"])
        + mse_loss(found["dime"].squeeze(1), batch["size"])
    )


def with_f1(module: Any, batch: Any) -> Tensor:
    """The second head has a metric of its own in the step."""
    found = module(batch["image"], batch["text"])
    module.f1(found["colour"], batch["colour"])
    module.accuracy(found["kind"], batch["kind"])
    return losses(found, batch)


def only_measured(module: Any, batch: Any) -> Tensor:
    """A head that no loss gets, only a metric."""
    found = module(batch["image"], batch["text"])
    module.accuracy.update(found["twist"], batch["twist"])
    return losses({"kind": found["kind"]}, batch)


def deep_supervision(module: Any, batch: Any) -> Tensor:
    """Two heads of both modalities for one label; the metric gets the final one."""
    found = module(batch["image"], batch["text"])
    module.accuracy(found["final"], batch["kind"])
    return cross_entropy(found["halfway"], batch["kind"]) + cross_entropy(found["final"], batch["kind"])


def boxes(module: Any, batch: Any) -> Tensor:
    """Detection's pair: a class, and two coordinates of different size."""
    found = module(batch["image"], batch["text"])
    return cross_entropy(found["kind"], batch["kind"]) + huber_loss(found["box"], batch["box"])


def macro_f1(outputs: Any, labels: Any) -> float:
    guessed, found = outputs.argmax(1), []
    for c in range(3):
        hits = ((guessed == c) & (labels == c)).sum()
        wrong = (guessed == c).sum() + (labels == c).sum()
        if wrong:
            found.append(2 * hits / wrong)
    return float(sum(found) / len(found))


def macro_accuracy(outputs: Any, labels: Any) -> float:
    classes = sorted(set(labels.tolist()))
    return float(sum((outputs.argmax(1)[labels == c] == c).mean() for c in classes) / len(classes))


TWO = {"": KIND, "colour": COLOUR}
SIZE = Head("size", "size", "regression")
KINDS: dict[str, HeadsKind] = {
    "dict": HeadsKind(called(dict), TWO, forward=scores("kind", "colour")),
    "dict, the further head first": HeadsKind(called(dict), TWO, forward=scores("colour", "kind")),
    "tuple": HeadsKind(called(two), {"": KIND, "head1": COLOUR}, forward=packed(lambda *both: both)),
    "list": HeadsKind(called(two), {"": KIND, "head1": COLOUR}, forward=packed(lambda *both: list(both))),
    "dataclass": HeadsKind(called(vars), TWO, forward=packed(Prediction)),
    "namedtuple": HeadsKind(called(two), TWO, forward=packed(Named)),
    "ModelOutput": HeadsKind(
        called(lambda found: two((found.kind_logits, found.colour_logits))),
        {"": KIND, "colour_logits": COLOUR},
        forward=packed(lambda kind, colour: TwoLogits(kind_logits=kind, colour_logits=colour)),
    ),
    "nested dict": HeadsKind(
        called(lambda found: {"kind": found["main"], "colour": found["aux"]["colour"]}),
        TWO,
        forward=packed(lambda kind, colour: {"main": kind, "aux": {"colour": colour}}),
    ),
    "two losses in the step": HeadsKind(in_the_step, {"": KIND, "head1": COLOUR}),
    "two losses, one of a submodule": HeadsKind(
        by_a_submodule,
        {"": KIND, "colour_head": Head(lambda net, image, _: net.colour_head(torch.tanh(net.image(image))), "colour")},
    ),
    "regression beside classes": HeadsKind(called(dict), {"": KIND, "size": SIZE}, forward=scores("kind", "size")),
    "labels beside classes": HeadsKind(
        called(dict), {"": KIND, "tags": Head("tags", "tags", "multilabel")}, forward=scores("kind", "tags")
    ),
    "classes and coordinates": HeadsKind(
        boxes, {"": KIND, "box": Head("box", "box", "regression")}, forward=scores("kind", "box")
    ),
    "four heads": HeadsKind(
        called(dict), {"": KIND, "colour": COLOUR, "size": SIZE, "twist": Head("twist", "twist")},
        forward=scores("kind", "colour", "size", "twist"),
    ),
    "unimodal auxiliary heads": HeadsKind(
        late_fusion,
        {
            "": Head(lambda net, *inputs: fused(net, *inputs)["both"], "colour"),
            "image_only": Head(lambda net, *inputs: fused(net, *inputs)["image_only"], "colour"),
            "text_only": Head(lambda net, *inputs: fused(net, *inputs)["text_only"], "colour"),
        },
        forward=fused,
    ),
    "start and end": HeadsKind(
        start_and_end, {"": Head("place", "place"), "end_logits": Head("end", "end")}, forward=question_answering
    ),
    "labels for a part of the examples": HeadsKind(
        partly_labelled,
        {"": KIND, "colour": Head("colour", "partly"), "size": Head("size", "partly_sized", "regression")},
        forward=scores("kind", "colour", "size"),
    ),
    "labelled rows and a column in one index": HeadsKind(
        in_one_index,
        {"": KIND, "size": Head("size", "partly_sized", "regression")},
        forward=scores("kind", "size"),
    ),
    "heads named as keys": HeadsKind(
        own_keys, {"": KIND, "total_": COLOUR, "dime_": SIZE},
        forward=lambda net, *inputs: dict(
            zip(("kind", "total", "dime"), scores("kind", "colour", "size")(net, *inputs).values(), strict=True)
        ),
    ),
    "a metric for each head": HeadsKind(
        with_f1,
        {"": Head("kind", "kind", score=macro_accuracy), "colour": Head("colour", "colour", score=macro_f1)},
        metrics=lambda: {
            "f1": MulticlassF1Score(3, average="macro"), "accuracy": MulticlassAccuracy(4, average="macro")
        },
        forward=scores("kind", "colour"),
    ),
    "a head that a metric alone gets": HeadsKind(
        only_measured, {"": KIND, "twist": Head("twist", "twist")},
        metrics=lambda: {"accuracy": MulticlassAccuracy(3, average="micro")}, forward=scores("kind", "twist"),
    ),
    "two heads for one label": HeadsKind(
        deep_supervision, {"": KIND, "halfway": Head("early", "kind")},
        metrics=lambda: {"accuracy": MulticlassAccuracy(4, average="micro")},
        forward=lambda net, image, text: {
            "halfway": net.of("early", image, text), "final": net.of("kind", image, text)
        },
    ),
}  # fmt: skip
"""Models with several heads."""

FAST = {
    "dict", "ModelOutput", "two losses, one of a submodule", "four heads", "labels for a part of the examples",
    "labelled rows and a column in one index", "heads named as keys", "a metric for each head",
    "two heads for one label",
}  # fmt: skip
"""One of each family."""
