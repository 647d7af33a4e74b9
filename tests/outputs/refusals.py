"""Configurations that are refused: what is said, and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from outputs.heads import Heads
from torch import Tensor
from torch.nn.functional import (
    cross_entropy,
    ctc_loss,
    log_softmax,
    mse_loss,
    triplet_margin_loss,
)


@dataclass(frozen=True)
class Refused:
    """A step, or an argument, that cannot be measured.

    Attributes:
        step: (module, batch) -> loss.
        says: Parts of what is said.
        forward: (network, image, text) -> what the module returns.
        options: Arguments of the monitor.
        fixable: Whether a line to paste is printed, so that the training may end at once; else it goes on.
        fix: Arguments of the monitor that what is said names; None where it is the line to paste.
    """

    step: Callable[[Any, Any], Tensor]
    says: tuple[str, ...]
    forward: Callable[..., Any] = lambda net, image, text: net.of("kind", image, text)
    options: Mapping[str, Any] = field(default_factory=dict)
    fixable: bool = False
    fix: Mapping[str, Any] | None = None


def called(module: Any, batch: Any) -> Any:
    return module(batch["image"], batch["text"])


def classified(module: Any, batch: Any) -> Tensor:
    return cross_entropy(called(module, batch), batch["kind"])


def several(net: Heads, image: Tensor, text: Tensor) -> dict[str, Tensor]:
    return {name: net.of(name, image, text) for name in ("kind", "early")}


def two_for_one_label(module: Any, batch: Any) -> Tensor:
    """Two heads of both modalities for one label, and nothing tells which is the prediction."""
    found = called(module, batch)
    return cross_entropy(found["kind"], batch["kind"]) + cross_entropy(found["early"], batch["kind"])


def reconstructed(module: Any, batch: Any) -> Tensor:
    """An autoencoder: the target is an input."""
    return mse_loss(called(module, batch), batch["image"][:, :4])


def triplet(module: Any, batch: Any) -> Tensor:
    found = called(module, batch)
    return triplet_margin_loss(found, found.roll(1, 0), found.roll(2, 0))


def transcribed(module: Any, batch: Any) -> Tensor:
    """CTC: a label has no position."""
    scores = log_softmax(called(module, batch).view(-1, 2, 2).movedim(1, 0), -1)
    count = len(batch["image"])
    return ctc_loss(scores, torch.ones(count, 1).long(), torch.full((count,), 2), torch.ones(count).long())


def shuffled_rows(net: Heads, image: Tensor, text: Tensor) -> Tensor:
    """Every example gets a part of another one, whichever comes."""
    return net.of("kind", image + 2 * image[torch.randperm(len(image))], text)


def batch_statistics(net: Heads, image: Tensor, text: Tensor) -> Tensor:
    found = net.of("kind", image, text)
    return found - found.mean(0)


def example_by_example(module: Any, batch: Any) -> Tensor:
    """Boxes: a list with another number of rows for each example."""
    lost = []
    for place, (image, text) in enumerate(zip(batch["image"], batch["text"], strict=True)):
        rows = 1 + place % 3
        found = module(image.expand(rows, -1), text.expand(rows, -1))
        lost.append(mse_loss(found[:, :2], batch["box"][place].expand(rows, -1)))
    return torch.stack(lost).mean()


ARGUMENTS: dict[str, Refused] = {
    "heads that are no list": Refused(classified, ("heads", "kind"), options={"heads": "kind"}),
    "no heads": Refused(classified, ("heads",), options={"heads": []}),
    "no positions": Refused(classified, ("positions", "0"), options={"positions": 0}),
    "half a position": Refused(classified, ("positions", "0.5"), options={"positions": 0.5}),
    "no draws": Refused(classified, ("draws", "0"), options={"draws": 0}),
    "draws that are no number": Refused(classified, ("draws", "many"), options={"draws": "many"}),
}
"""Arguments that no model could have; refused by the constructor."""

KINDS: dict[str, Refused] = {
    "an unknown head": Refused(
        two_for_one_label, ("heads", "'hue'", "'kind'", "'early'"), forward=several, options={"heads": ["hue"]},
        fixable=True, fix={"heads": ["kind", "early"]},
    ),
    "two heads for one label": Refused(two_for_one_label, ("kind", "early"), forward=several, fixable=True),
    "two heads for one label, one chosen": Refused(
        two_for_one_label, ("kind", "early"), forward=several, fixable=True, fix={"heads": ["early"]}
    ),
    "an autoencoder": Refused(reconstructed, ("modalities=", "image"), fixable=True),
    "a triplet": Refused(triplet, ("predict=", "task"), fixable=True, fix={"task": "regression"}),
    "CTC": Refused(transcribed, ("predict=", "task="), fixable=True, fix={"task": "regression"}),
    "statistics of the batch": Refused(classified, ("example",), forward=batch_statistics),
    "a permutation of the batch": Refused(classified, ("example",), forward=shuffled_rows),
    "example by example": Refused(example_by_example, ("predict=",)),
}  # fmt: skip
"""Steps that cannot be measured as they are."""
