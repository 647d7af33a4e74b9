"""Toy batches of many structures, toy models of many families, and comparisons of batches."""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence
from transformers import (
    BatchEncoding,
    CLIPConfig,
    CLIPModel,
    LxmertConfig,
    LxmertForQuestionAnswering,
    ViltConfig,
    ViltForQuestionAnswering,
)

from mviz_lightning.batch import BatchSchema, Probe, parse_modalities

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
    "BatchEncoding": _structure(
        lambda image, text, labels: BatchEncoding({"image": image, "text": text, "labels": labels})
    ),
    "inputs and labels": _structure(lambda image, text, labels: ((image, text), labels), "0.0", "0.1", "1"),
    "dict and labels": _structure(
        lambda image, text, labels: ({"image": image, "text": text}, labels), "0.image", "0.text", "1"
    ),
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


def learn(batch: Any, modalities: Any = ("image", "text"), target: str | None = None) -> BatchSchema:
    return BatchSchema.learn(batch, parse_modalities(modalities), target)


def probe_of(batch: Any, modalities: Any = ("image", "text"), target: str | None = None) -> Probe:
    """Make a probe of a whole batch, in a single group."""
    schema = learn(batch, modalities, target)
    leaves = schema.leaves(batch)
    return Probe(schema, leaves, torch.arange(schema.size(leaves)).unsqueeze(0))


def same(left: Any, right: Any) -> bool:  # noqa: PLR0911 - a return for each kind
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
    """Predict function: ``module(batch)``."""
    return module(batch)


def call_named(module: nn.Module, batch: Any) -> Any:
    """Predict function: image and text by keyword."""
    return module(image=batch["image"], text=batch["text"])


class MetaTensor(Tensor):
    """Like MONAI's: knows its affine map and its file, and hands them on to whatever is computed from it."""

    meta: dict[str, Any]

    @classmethod
    def of(cls, values: Tensor) -> "MetaTensor":
        made = values.clone().as_subclass(cls)
        made.meta = {"filename_or_obj": "scan.nii.gz", "affine": torch.eye(4)}
        return made

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        given = next((arg for arg in args if isinstance(arg, MetaTensor)), None)
        for made in result if isinstance(result, tuple | list) else [result]:
            if isinstance(made, MetaTensor):
                made.meta = dict(getattr(given, "meta", {}), applied=getattr(func, "__name__", ""))
        return result


def with_logits(scores: Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=scores)


class LSTMNet(nn.Module):
    """A CNN with BatchNorm beside an LSTM over padded token ids; ``forward(image, ids, attention_mask)``."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.embed = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Bilinear(4, 5, 3)

    def forward(self, image: Tensor, ids: Tensor, attention_mask: Tensor) -> Tensor:
        lengths = attention_mask.sum(1).cpu()
        steps = pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.cnn(image), self.lstm(steps)[1][0][-1])


class MulT(nn.Module):
    """Three sequences, a regression and its hidden state: ``(out (B, 1), h)``."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nn.GRU(size, 4, batch_first=True) for size in (6, 5, 3))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, text: Tensor, audio: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.cat([net(values)[0] for net, values in zip(self.nets, (text, audio, vision), strict=True)], 1)
        hidden = self.attention(steps, steps, steps, need_weights=False)[0].mean(1)
        return self.head(hidden), hidden


class LateList(nn.Module):
    """``forward(inputs)`` with a list of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.net = LateFusion()

    def forward(self, inputs: list[Tensor]) -> Tensor:
        return self.net(*inputs[:2])


class ModelCase(NamedTuple):
    """A model of a family, a batch for it, and the monitor's arguments for both."""

    module: nn.Module
    batch: Any
    modalities: dict[str, Any]
    target: str | None
    outputs: int
    predict: Any = None


def token_leaves(count: int, width: int = 6, high: int = 20) -> dict[str, Tensor]:
    """Return token ids of several lengths and their mask."""
    lengths = integers(width - 1, count, seed=11) + 2
    mask = (torch.arange(width) < lengths.unsqueeze(1)).long()
    return {"input_ids": integers(high - 2, count, width, seed=12) + 2 * mask, "attention_mask": mask}


def late_fusion(count: int = 8) -> ModelCase:
    return ModelCase(seeded(LateFusion), pair_batch(count), {"image": "image", "text": "text"}, "labels", 3)


def cnn_lstm(count: int = 8) -> ModelCase:
    tokens = token_leaves(count)
    batch = {"ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "image": floats(count, 3, 8, 8)}
    return ModelCase(seeded(LSTMNet), batch, {"image": "image", "text": ["ids", "attention_mask"]}, None, 3)


def mult(count: int = 8) -> ModelCase:
    batch = ([floats(count, 5, 6), floats(count, 7, 5, seed=1), floats(count, 4, 3, seed=2)], floats(count, 1, seed=3))
    return ModelCase(seeded(MulT), batch, {"text": "0.0", "audio": "0.1", "vision": "0.2"}, "1", 1, call_inputs)


def list_batch(count: int = 8) -> ModelCase:
    return ModelCase(seeded(LateList), list(pair_batch(count).values()), {"image": "0", "text": "1"}, "2", 3)


def call_inputs(module: nn.Module, batch: Any) -> Any:
    """Predict function: all inputs in order, without the labels."""
    return module(*batch[0])


def vilt(count: int = 8) -> ModelCase:
    config = ViltConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, image_size=16, patch_size=8, num_labels=3,
    )  # fmt: skip
    pixels = {"pixel_values": floats(count, 3, 16, 16), "pixel_mask": torch.ones(count, 16, 16, dtype=torch.long)}
    batch = {**token_leaves(count), **pixels, "labels": floats(count, 3).sigmoid()}
    modalities = {"text": ["input_ids", "attention_mask"], "image": ["pixel_values", "pixel_mask"]}
    return ModelCase(seeded(lambda: ViltForQuestionAnswering(config)), BatchEncoding(batch), modalities, "labels", 3)


class CLIPClassifier(nn.Module):
    """A head over both embeddings of CLIP."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.head = nn.Bilinear(8, 8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> dict[str, Tensor]:
        found = self.clip(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values)
        return {"logits": self.head(found.text_embeds, found.image_embeds)}


def clip_model() -> CLIPModel:
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**layers, "vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 19}
    vision = {**layers, "image_size": 16, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def clip(count: int = 8) -> ModelCase:
    batch = {**token_leaves(count), "pixel_values": floats(count, 3, 16, 16)}
    modalities = {"text": ["input_ids", "attention_mask"], "image": "pixel_values"}
    return ModelCase(seeded(lambda: CLIPClassifier(clip_model())), batch, modalities, None, 3)


def responses(module: nn.Module, batch: Any) -> Tensor:
    """Predict function for a model whose outputs are not called logits."""
    return module(**batch).question_answering_score


def lxmert(count: int = 8) -> ModelCase:
    config = LxmertConfig(
        vocab_size=20, hidden_size=16, num_attention_heads=2, intermediate_size=16, num_qa_labels=3, l_layers=1,
        x_layers=1, r_layers=1, visual_feat_dim=6, max_position_embeddings=8,
    )  # fmt: skip
    regions = {"visual_feats": floats(count, 4, 6), "visual_pos": floats(count, 4, 4, seed=1).sigmoid()}
    modalities = {"text": ["input_ids", "attention_mask"], "image": ["visual_feats", "visual_pos"]}
    module = seeded(lambda: LxmertForQuestionAnswering(config))
    return ModelCase(module, {**token_leaves(count), **regions}, modalities, None, 3, responses)


FAMILIES = {
    "late fusion": late_fusion,
    "CNN and LSTM": cnn_lstm,
    "MulT": mult,
    "list batch": list_batch,
    "ViLT": vilt,
    "CLIP": clip,
    "LXMERT": lxmert,
}
"""Models by family, each a function of the number of examples; all can be evaluated row by row."""
