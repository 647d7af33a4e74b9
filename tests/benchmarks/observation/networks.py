"""Ordinary steps around networks whose insides are out of the ordinary."""

from functools import partial
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import CLASSES, COUNT, WORDS, User, classes, dicts, flags, generator, named, values
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint


class Attending(nn.Module):
    """Words attend to one another, with their padding left out, then to the picture."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.patches, self.words = nn.Conv2d(3, 8, 2, stride=2), nn.Embedding(WORDS, 8, padding_idx=0)
        self.encoder, self.cross = nn.TransformerEncoder(layer, 2), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, image, text):
        padding = text == 0
        words = self.encoder(self.words(text), src_key_padding_mask=padding)
        patches = self.patches(image).flatten(2).mT
        seen = self.cross(words, patches, patches, need_weights=False)[0].masked_fill(padding.unsqueeze(2), 0.0)
        return self.head(seen.sum(1) / (~padding).sum(1, keepdim=True))


class Recurrent(nn.Module):
    """An LSTM over packed words whose state starts from the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.words = nn.Linear(48, 8), nn.Embedding(WORDS, 8)
        self.state, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, image, text, lengths):
        packed = pack_padded_sequence(self.words(text), lengths.cpu(), batch_first=True, enforce_sorted=False)
        start = torch.tanh(self.picture(image.flatten(1))).unsqueeze(0)
        _, (hidden, _) = self.state(packed, (start, torch.zeros_like(start)))
        return self.head(hidden[-1])


class Regular(nn.Module):
    """Dropout and BatchNorm, which behave otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten())
        self.text = nn.Sequential(nn.EmbeddingBag(WORDS, 32), nn.LayerNorm(32), nn.Dropout(0.5))
        self.head = nn.Sequential(
            nn.Linear(32, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, CLASSES)
        )

    def forward(self, image, text):
        return self.head(self.image(image) * self.text(text))


class Frozen(nn.Module):
    """A frozen encoder without gradients, a normed layer, and a checkpointed fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(48, 8).requires_grad_(requires_grad=False)
        self.text, self.fuse = nn.Embedding(WORDS, 8), nn.Bilinear(8, 8, 8)
        self.head = weight_norm(nn.Linear(8, CLASSES))

    def forward(self, image, text):
        with torch.no_grad():
            seen = self.image(image.flatten(1))
        return self.head(checkpoint(self.fuse, seen, self.text(text).mean(1), use_reentrant=False))


class InPlace(nn.Module):
    """Everything that can be is computed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(48, 8), nn.Embedding(WORDS, 8), nn.Linear(8, CLASSES)

    def forward(self, image, text):
        joined = self.image(image.flatten(1)).add_(0.1)
        joined += self.text(text).mean(1)
        logits = self.head(joined.relu_())
        logits /= 0.7
        logits[:, 0] += 0.3
        return logits


class Hooked(nn.Module):
    """Features are caught by a hook in the middle of an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 4))
        self.text, self.head, self.caught = nn.Embedding(WORDS, 8), nn.Linear(8, CLASSES), {}
        self.image[2].register_forward_hook(lambda module, given, outputs: self.caught.update(features=outputs))

    def forward(self, image, text):
        self.image(image)
        return self.head(self.caught["features"] * self.text(text).mean(1))


class Looped(nn.Module):
    """Python decides: only as many words are read as the longest text has."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(48, 8), nn.Embedding(WORDS, 8), nn.Linear(8, CLASSES)

    def forward(self, image, text):
        longest = int((text != 0).sum(1).max())
        state = torch.tanh(self.image(image.flatten(1)))
        for position in range(longest):
            word = text[:, position]
            state = torch.where((word != 0).unsqueeze(1), torch.tanh(state + self.text(word)), state)
        return self.head(state)


class Around(User):
    """A step around a network."""

    def __init__(self, network: type[nn.Module]) -> None:
        super().__init__()
        self.model, self.criterion = network(), nn.CrossEntropyLoss()
        del self.net

    def forward(self, *inputs):
        return self.model(*inputs)

    def step(self, batch):
        return self.criterion(self(batch["image"], batch["text"]), batch["y"])


class WithLengths(Around):
    def step(self, batch):
        return self.criterion(self(batch["image"], batch["text"], batch["lengths"]), batch["y"])


class Trimmed(Around):
    """The step trims the padding that no text of the batch needs."""

    def step(self, batch):
        longest = int((batch["text"] != 0).sum(1).max())
        return self.criterion(self(batch["image"], batch["text"][:, :longest]), batch["y"])


class Autocast(Around):
    """The step has its own autocast."""

    def step(self, batch):
        with torch.autocast("cpu", torch.bfloat16):
            logits = self(batch["image"], batch["text"])
        return self.criterion(logits.float(), batch["y"])


class Frames(User):
    """Sound and video, each a sequence with its own length."""

    def __init__(self):
        super().__init__()
        self.sound = nn.Sequential(nn.Conv1d(2, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.video = nn.GRU(12, 8, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, sound, video):
        _, hidden = self.video(video.flatten(2))
        return self.head(self.sound(sound) * hidden[-1])[:, 0]

    def step(self, batch):
        (sound, video), mood = batch
        return functional.smooth_l1_loss(self(sound, video), mood)


class Recommender(User):
    """Users and items by number, and a table of each."""

    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(WORDS, 4), nn.Embedding(WORDS, 4)
        self.side = nn.ModuleDict({"user": nn.Linear(3, 4), "item": nn.Linear(2, 4)})

    def forward(self, user, item):
        users = self.user(user["id"]) + self.side["user"](user["table"])
        return (users * (self.item(item["id"]) + self.side["item"](item["table"]))).sum(-1)

    def step(self, batch):
        logits = self(batch["user"], batch["item"])
        return functional.binary_cross_entropy_with_logits(logits, batch["clicked"])


def padded() -> list[Any]:
    """Return batches whose texts end in padding, with their lengths."""
    lengths = torch.randint(1, 6, (COUNT,), generator=generator(13))
    text = torch.randint(1, WORDS, (COUNT, 5), generator=generator(14))
    return dicts(y=classes(), lengths=lengths, text=text.masked_fill(torch.arange(5) >= lengths.unsqueeze(1), 0))


def frames() -> list[Any]:
    draw = generator(15)
    sound, video = torch.randn(COUNT, 2, 9, generator=draw), torch.randn(COUNT, 4, 3, 2, 2, generator=draw)
    parts = zip(sound.split(16), video.split(16), values().split(16), strict=True)
    return [((heard, seen), mood) for heard, seen, mood in parts]


def clicks() -> list[Any]:
    draw = generator(16)
    ids, tables = torch.randint(WORDS, (2, COUNT), generator=draw), torch.randn(COUNT, 5, generator=draw)
    leaves = {"ids": ids.T, "tables": tables, "clicked": flags()}
    return [
        {
            "user": {"id": batch["ids"][:, 0], "table": batch["tables"][:, :3]},
            "item": {"id": batch["ids"][:, 1], "table": batch["tables"][:, 3:]},
            "clicked": batch["clicked"],
        }
        for batch in dicts(**leaves)
    ]


def modelled(module: Any, batch: Any) -> Tensor:
    return module.model(batch["image"], batch["text"])


def half_precision(module: Any, batch: Any) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return modelled(module, batch)


around = partial(named, style="networks", scores=modelled)

CASES: list[Case] = [
    around("a Transformer and cross attention", module=partial(Around, Attending), batches=padded),
    around(
        "packed sequences",
        module=partial(WithLengths, Recurrent),
        batches=padded,
        modalities={"image": "image", "text": ["text", "lengths"]},
        scores=lambda module, batch: module.model(batch["image"], batch["text"], batch["lengths"]),
    ),
    around("BatchNorm and dropout", module=partial(Around, Regular)),
    around("a frozen encoder", module=partial(Around, Frozen)),
    around("operations in place", module=partial(Around, InPlace)),
    around("features caught by a hook", module=partial(Around, Hooked)),
    around("a loop over words", module=partial(Around, Looped), batches=padded),
    around("padding trimmed in the step", module=partial(Trimmed, Looped), batches=padded),
    around("autocast in the step", module=partial(Autocast, Regular), scores=half_precision, tolerance=2e-2),
    Case(
        "sound and video",
        "networks",
        Frames,
        frames,
        {"sound": "0.0", "video": "0.1"},
        lambda module, batch: module(*batch[0]),
        lambda batch: batch[1],
        "regression",
    ),
    Case(
        "users and items",
        "networks",
        Recommender,
        clicks,
        {"user": "user", "item": "item"},
        lambda module, batch: module(batch["user"], batch["item"]),
        lambda batch: batch["clicked"],
        "binary",
    ),
]
