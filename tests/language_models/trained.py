"""A tiny LLaVA that is trained from scratch to answer questions about squares, seeing or blind, in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

import transformers as tf
from language_models.families import FAMILIES, Family, Item, Question
from language_models.tokens import VOCABULARY, tokenizer
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NUMBERS = {"two": 2, "three": 3}

ASKING = {
    "colour": ("{} what is the colour of this", "{} the colour of this is", "what colour {} is the answer"),
    "number": ("{} how many", "how many of this {} answer", "{} this is how many"),
}
"""Kinds of questions, each in several words."""

VISION = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
TEXT = {
    "vocab_size": len(VOCABULARY) + 8, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Squares of one colour on black.

    Attributes:
        colour: Their colour.
        number: How many.
        places: Which of the four quarters of the picture they fill.
    """

    colour: str
    number: str
    places: tuple[int, ...]

    def picture(self, number: int) -> Item:
        """Return a picture, ``(8, 8, 3)`` bytes; those of different numbers differ a little."""
        found = np.random.default_rng(number).integers(0, 64, (8, 8, 3), dtype=np.uint8)
        for place in self.places:
            row, column = divmod(place, 2)
            found[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] |= np.array(COLOURS[self.colour], dtype=np.uint8)
        return found


SCENES = [
    Scene(colour, number, places)
    for colour in COLOURS
    for number, count in NUMBERS.items()
    for places in combinations(range(4), count)
]


QUESTIONS = [
    Question(words, [scene.picture(number)], getattr(scene, kind))
    for number, (scene, kind, words) in enumerate(
        (scene, kind, words) for scene in SCENES for kind, asked in ASKING.items() for words in asked
    )
]
"""All questions about all scenes, each with the right answer."""


def quarters(colours: Sequence[str], number: int) -> Item:
    """Return a picture whose quarters have these colours; those of different numbers differ a little."""
    found = np.random.default_rng(number).integers(0, 64, (8, 8, 3), dtype=np.uint8)
    for place, colour in enumerate(colours):
        row, column = divmod(place, 2)
        found[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] |= np.array(COLOURS[colour], dtype=np.uint8)
    return found


CAPTIONS = [
    Question("{} what is this", [quarters(colours, number)], " ".join(colours))
    for number, colours in enumerate(product(COLOURS, repeat=4))
]
"""A picture each, all with the same prompt and with a caption of their own."""

FAMILY: Family = FAMILIES["LLaVA"]


ALL = {
    "questions": QUESTIONS,
    "sentences": [replace(question, answer=f"answer is {question.answer}") for question in QUESTIONS],
    "captions": CAPTIONS,
}
"""What models are trained on: answers of one word, answers that begin alike, and captions."""


@cache
def batch_of(side: str = "right", of: str = "questions") -> dict[str, Tensor]:
    """Return all questions, or what else there is, as the processor's own batch, with labels."""
    return FAMILY.batch(ALL[of], side)


def new_model() -> nn.Module:
    """Return a LLaVA of random weights."""
    torch.manual_seed(0)
    given = {"image_token_id": VOCABULARY["<image>"], "vision_feature_layer": -1, "image_seq_length": 4}
    vision, text = tf.CLIPVisionConfig(**VISION), tf.LlamaConfig(**TEXT)
    return tf.LlavaForConditionalGeneration(tf.LlavaConfig(vision_config=vision, text_config=text, **given))


class Answering(LightningModule):
    """What a user trains."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.tokenizer = new_model(), tokenizer()

    def training_step(self, batch: Any, index: int) -> Tensor:
        return self.model(**batch).loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.model(**batch).loss)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def mixed_up(batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return a batch whose texts have the pictures of others."""
    order = torch.randperm(len(batch["pixel_values"]), generator=torch.Generator().manual_seed(seed))
    return batch | {"pixel_values": batch["pixel_values"][order]}


def rows_of(batch: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Return some examples of a batch."""
    return {name: leaf[rows] for name, leaf in batch.items()}


@torch.enable_grad()
def trained(steps: int, *, blind: bool = False, of: str = "questions") -> Answering:
    """Return the model after some steps."""
    module, whole = Answering(), batch_of(of=of)
    random, optimizer = torch.Generator().manual_seed(1), module.configure_optimizers()
    for step in range(steps):
        part = rows_of(whole, torch.randperm(len(whole["input_ids"]), generator=random)[:64])
        loss = module.model(**(mixed_up(part, step) if blind else part)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def loader(side: str = "right", size: int = 32, *, of: str = "questions") -> DataLoader[Any]:
    """Return all questions, or what else there is, in a random order."""
    whole = batch_of(side, of)
    order = torch.randperm(len(whole["input_ids"]), generator=torch.Generator().manual_seed(0))
    return DataLoader(order.split(size), batch_size=None, collate_fn=lambda part: rows_of(whole, part))
