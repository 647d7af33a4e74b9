"""Small models whose layers have kernels of their own on an accelerator, and the data that they train on."""

from contextlib import nullcontext
from typing import Any

import torch
from helpers.delicate import Augmenting, Delicate
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

WORDS, LENGTH, WIDTH, HEADS = 20, 16, 32, 2
"""Size of the vocabulary, tokens of a text, width of a layer and its attention heads."""


class Pictures(Augmenting):
    """Pictures ``(3, 16, 16)`` and texts ``(16,)``; the label depends on both."""

    def drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = torch.randn(48, 3, 16, 16, generator=generator)
        return images, torch.randint(1, WORDS, (48, LENGTH), generator=generator)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        label = (self.image[index, 0].mean() * 16 + self.text[index, 0] - WORDS / 2 > 0).long()
        return {**super().__getitem__(index), "label": label}


class Scene(nn.Module):
    """A CNN with BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        layers = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Dropout(0.3),
        )
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.layers(image).mean((2, 3))
        return found


class Mean(nn.Module):
    """The mean of the words' embeddings, through a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, 8)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.layer(self.words(text).mean(1)).relu()
        return found


class LastState(nn.Module):
    """The last state of an LSTM. No dropout between its layers: cuDNN keeps the state of that over trainings."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.reads = nn.Embedding(WORDS, WIDTH), nn.LSTM(WIDTH, 8, batch_first=True)

    def forward(self, text: Tensor) -> Tensor:
        found: Tensor = self.reads(self.words(text))[0][:, -1]
        return found


class Attending(nn.Module):
    """Words that look at one another, with one of PyTorch's kernels; None for its own choice."""

    def __init__(self, backend: SDPBackend | None = None) -> None:
        super().__init__()
        self.words, self.project, self.out = (
            nn.Embedding(WORDS, WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.Linear(WIDTH, 8),
        )
        self.backend = backend

    def forward(self, text: Tensor) -> Tensor:
        parts = self.project(self.words(text)).view(len(text), LENGTH, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        with nullcontext() if self.backend is None else sdpa_kernel(self.backend):
            seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        found: Tensor = self.out(seen.transpose(1, 2).flatten(2).mean(1))
        return found


class Pictured(Delicate):
    """A CNN on the picture beside a reader of the text.

    Args:
        reader: Makes the module that reads the text.
        compiled: Mode of ``torch.compile`` of both encoders; None to leave them as they are.
        channels_last: Whether pictures and kernels lie in memory channel by channel of each pixel.
    """

    def __init__(self, reader: Any = Mean, *, compiled: str | None = None, channels_last: bool = False) -> None:
        self.reader = reader
        super().__init__()
        self.channels_last = channels_last
        if channels_last:
            self.image.to(memory_format=torch.channels_last)
        if compiled is not None:
            self.image.compile(mode=compiled)
            self.text[0].compile(mode=compiled)

    def encoders(self) -> tuple[nn.Module, nn.Sequential]:
        return Scene(), nn.Sequential(self.reader(), nn.BatchNorm1d(8), nn.Tanh())

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        laid = image.to(memory_format=torch.channels_last) if self.channels_last else image
        return super().forward(laid, text)


class Hungry(Delicate):
    """Takes memory for each row of a forward, and none that training keeps."""

    row_bytes = 16 * 2**20

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        take(len(image) * self.row_bytes, image.device)
        return super().forward(image, text)


LARGEST = 2**30
"""Bytes that a forward may take: more of them run out of memory."""


def take(size: int, device: torch.device) -> None:
    """Take memory of a device and give it back; a CPU, which would swap, raises the error of a GPU above a limit."""
    if device.type == "cuda":
        torch.empty(size, dtype=torch.uint8, device=device)
    elif size > LARGEST:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / 2**30:.2f} GiB")
