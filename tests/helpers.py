"""Toy batches and models that several tests share."""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from transformers import BatchEncoding

from mviz_lightning.batch import Layout, Probe, parse_modalities

T = TypeVar("T")

Pair = namedtuple("Pair", ["image", "text", "labels"])  # noqa: PYI024 - users have untyped ones too


class TypedPair(NamedTuple):
    image: Tensor
    text: Tensor
    labels: Tensor


@dataclass
class Example:
    image: Tensor
    text: Tensor
    labels: Tensor


@dataclass(frozen=True)
class FrozenExample:
    image: Tensor
    text: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class SlottedExample:
    image: Tensor
    text: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Outer:
    inputs: Any
    rest: Any


class Structure(NamedTuple):
    """One way of putting an image, a text and labels into a batch, and the paths that lead there."""

    make: Callable[[Any, Any, Any], Any]
    image: str
    text: str
    labels: str


def _structure(make: Callable[[Any, Any, Any], Any], *paths: str) -> Structure:
    return Structure(make, *(paths or ("image", "text", "labels")))


STRUCTURES = {
    "dict": _structure(lambda image, text, labels: {"image": image, "text": text, "labels": labels}),
    "tuple": _structure(lambda *leaves: leaves, "0", "1", "2"),
    "list": _structure(lambda *leaves: list(leaves), "0", "1", "2"),
    "namedtuple": _structure(Pair),
    "typed namedtuple": _structure(TypedPair),
    "dataclass": _structure(Example),
    "frozen dataclass": _structure(FrozenExample),
    "slotted dataclass": _structure(SlottedExample),
    "BatchEncoding": _structure(lambda image, text, labels: BatchEncoding({"image": image, "text": text, "labels": labels})),
    "inputs and labels": _structure(lambda image, text, labels: ((image, text), labels), "0.0", "0.1", "1"),
    "dict and labels": _structure(lambda image, text, labels: ({"image": image, "text": text}, labels), "0.image", "0.text", "1"),
    "lists in a dict": _structure(lambda image, text, labels: {"x": [image, [text]], "y": labels}, "x.0", "x.1.0", "y"),
    "dataclass of everything": _structure(
        lambda image, text, labels: Outer(Pair(image, BatchEncoding({"ids": text}), None), [{"y": (labels,)}]),
        "inputs.image",
        "inputs.text.ids",
        "rest.0.y.0",
    ),
}


def seeded(factory: Callable[[], T], seed: int = 0) -> T:
    """Build something from a fixed random state and leave the global one alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return factory()


def floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def pair_batch(count: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """Return ``image (B, 4)``, ``text (B, 3)`` and ``labels (B,)`` of three classes."""
    return {
        "image": floats(count, 4, seed=seed),
        "text": floats(count, 3, seed=seed + 1),
        "labels": integers(3, count, seed=seed + 2),
    }


def learn(batch: Any, modalities: Any = ("image", "text"), target: str | None = None) -> Layout:
    return Layout.learn(batch, parse_modalities(modalities), target)


def probe_of(batch: Any, modalities: Any = ("image", "text"), target: str | None = None) -> Probe:
    """Make a probe of a whole batch, in a single group."""
    layout = learn(batch, modalities, target)
    leaves = layout.leaves(batch)
    return Probe(layout, leaves, torch.arange(layout.size(leaves)).unsqueeze(0))


def same(left: Any, right: Any) -> bool:
    """Compare leaves or whole batches: types, structure, element types and values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, PackedSequence):
        return all(same(a, b) for a, b in zip(_unpadded(left), _unpadded(right), strict=True))
    if isinstance(left, Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    return bool(left == right)


def _unpadded(leaf: PackedSequence) -> tuple[Tensor, Tensor]:
    return pad_packed_sequence(leaf, batch_first=True)


def packed(lengths: list[int], width: int = 2, seed: int = 0) -> PackedSequence:
    rows = [floats(length, width, seed=seed + k) for k, length in enumerate(lengths)]
    return pack_sequence(rows, enforce_sorted=False)


class LateFusion(nn.Module):
    """``forward(image, text)``; an image network and a text network, multiplied and added."""

    def __init__(self, image: int = 4, text: int = 3, outputs: int = 3) -> None:
        super().__init__()
        self.image_net = nn.Sequential(nn.Linear(image, 5), nn.Tanh(), nn.Linear(5, outputs))
        self.text_net = nn.Sequential(nn.Linear(text, 5), nn.Tanh(), nn.Linear(5, outputs))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        left, right = self.image_net(image), self.text_net(text)
        return left + right + left * right


class Additive(LateFusion):
    """``forward(image, text)`` without any interaction."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.image_net(image) + self.text_net(text)


class OnBatch(nn.Module):
    """``forward(batch)``: what a function of a module and a batch returns."""

    def __init__(self, function: Callable[[Any, Any], Any], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._function = function

    def forward(self, batch: Any) -> Any:
        return self._function(self, batch)


def call_forward(module: nn.Module, batch: Any) -> Any:
    """Predict: the batch as it stands."""
    return module(batch)


def call_named(module: nn.Module, batch: Any) -> Any:
    """Predict: image and text by name."""
    return module(image=batch["image"], text=batch["text"])


def with_logits(scores: Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=scores)
