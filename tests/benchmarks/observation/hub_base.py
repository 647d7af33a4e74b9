"""What the cases of transformers share: a module around one of their models, batches, and weights.

Weights are random, of tiny configurations; no file is downloaded. Token ids below 3 are special: 0 or 1 pads, 2 ends,
and the largest, 39, stands for a piece of an image in causal models. Images have 16 x 16 pixels, in patches of 8.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.observation.parts import SIZE, generator
from lightning.pytorch import LightningModule
from torch import Tensor, nn

VOCABULARY, WIDTH = 40, 16
PLACEHOLDER = VOCABULARY - 1
LAYER = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": WIDTH}
TEXT = LAYER | {"vocab_size": VOCABULARY, "max_position_embeddings": 24}
VISION = LAYER | {"image_size": 16, "patch_size": 8}
IMAGE_AND_TEXT = {"image": "pixel_values", "text": ["input_ids", "attention_mask"]}
Batch = dict[str, Any]


class HubModule(LightningModule):
    """A module around ``self.model``; ``common_step`` returns the loss of training and validation."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def common_step(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.common_step(batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.common_step(batch)
        self.log("val_loss", loss, batch_size=SIZE)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def around(module: type[LightningModule], model: Callable[[Any], nn.Module], config: Any) -> Callable[[], Any]:
    """Return a function that makes a module around a model, both with weights of about unit gain.

    With transformers' own weights, of a standard deviation of 0.02, the outputs hardly depend on the inputs. Models
    write into their configuration, so each gets its own.
    """

    def make() -> LightningModule:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = module(model(copy.deepcopy(config)))
            for parameter in made.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=1.3 / math.sqrt(parameter[0].numel()))
        return made

    return make


def batches_of(make: Callable[[int], Any]) -> Callable[[], list[Any]]:
    """Return a function that makes three batches of 16 examples from a function of a seed."""
    return lambda: [make(seed) for seed in range(3)]


def sentences(seed: int, padding: int = 0, shortest: int = 4, longest: int = 8) -> Batch:
    """Return ids and mask of sentences that end in 2, padded to the longest of the batch."""
    draw = generator(seed)
    lengths = torch.randint(shortest, longest + 1, (SIZE, 1), generator=draw)
    place = torch.arange(int(lengths.max()))
    ids = torch.randint(3, PLACEHOLDER, (SIZE, len(place)), generator=draw)
    ids = ids.masked_fill(place == lengths - 1, 2).masked_fill(place >= lengths, padding)
    return {"input_ids": ids, "attention_mask": (place < lengths).long()}


def pixels(seed: int, *images: int) -> Tensor:
    """Return ``(B, *images, 3, 16, 16)`` of colours that differ among the images."""
    draw = generator(seed + 100)
    return torch.randn(SIZE, *images, 3, 1, 1, generator=draw) + torch.randn(SIZE, *images, 3, 16, 16, generator=draw)


def pixel_masks(*images: int) -> Tensor:
    """Return ``(B, *images, 16, 16)``: all pixels are there."""
    return torch.ones(SIZE, *images, 16, 16, dtype=torch.long)


def regions(seed: int, width: int = 6) -> Tensor:
    """Return ``(B, 3, width)``, what a detector says of three regions."""
    return torch.rand(SIZE, 3, width, generator=generator(seed + 200)) * 2


def answers(seed: int, count: int) -> Tensor:
    """Return ``(B,)`` class indices."""
    return torch.randint(count, (SIZE,), generator=generator(seed + 300))


def soft_answers(seed: int, count: int) -> Tensor:
    """Return ``(B, count)`` targets of VQA: 0.3 for each of ten people who gave the answer, at most 1."""
    votes = torch.multinomial(torch.ones(SIZE, count), 10, replacement=True, generator=generator(seed + 300))
    return (nn.functional.one_hot(votes, count).sum(1) * 0.3).clamp(max=1.0)


def unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=-1, keepdim=True)


def own_pairs(grid: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    """Return a function that gives each row's own score, ``(B, 1)``, of all ``(B, B)``."""
    return lambda module, batch: grid(module, batch).diagonal().unsqueeze(1)
