"""Probes of questions to tiny language models, and the comparison of rebuilt batches with those of the processors."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from language_models.families import AUDIO, Family, Question
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.few_examples import whole_examples
from mviz_lightning.engine.item_tokens import ItemTokenCounter
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens

LIMIT = 2e-7
"""Largest difference of logits, as a fraction of the largest."""

PADDED_WITH_TILES = ("pixel_values", "pixel_attention_mask")
"""Leaves that may have further tiles of zeros, as they have in batches with larger pictures."""

ASKED = [
    ("{} what is the colour of this", "red"),
    ("how many {} two", "blue green"),
    ("{}\nis this", "two"),
    ("the red {}", "red red red"),
]
"""Questions with an item in front, inside, on a line of its own and at the end, and their answers."""


def single_questions(family: Family) -> list[Question]:
    """Return questions of one item each, the items of several sizes."""
    return [Question(words, [family.item(k)], answer) for k, (words, answer) in enumerate(ASKED)]


def modalities_of(family: Family, side: str = "right") -> dict[str, Modality]:
    """Return the modalities as a user names them, with the tokenizer."""
    text = Modality("input_ids", decode=family.own_processor(side).tokenizer)
    return {"audio" if family.media == AUDIO else "image": Modality(family.media), "text": text}


def learned(family: Family, batch: Mapping[str, Any], side: str = "right", *, ask: bool = True) -> BatchSchema:
    """Return the schema of a batch of a family."""
    model, modalities = family.own_model(), modalities_of(family, side)
    counter = ItemTokenCounter(model, nullcontext) if ask else None
    return BatchSchema.learn(batch, modalities, None, placeholder_tokens(model, modalities), counter)


def probe_of(family: Family, questions: Sequence[Question], side: str = "right") -> Probe:
    """Return a probe of those questions that have items."""
    batch = family.batch(questions, side)
    return whole_examples(learned(family, batch, side), batch, len(questions))


def all_pairs(probe: Probe) -> list[tuple[int, int]]:
    """Return all (example of the items, example of the text) that can be recombined."""
    kinds = probe.kinds.tolist()
    return [(i, j) for i in range(probe.size) for j in range(probe.size) if kinds[i] == kinds[j]]


def differences(built: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Return the leaves in which a rebuilt batch differs from the processor's own."""
    return [name for name in built.keys() | own.keys() if not _same(name, built.get(name), own.get(name))]


def _same(name: str, built: Tensor | None, own: Tensor | None) -> bool:
    if built is None or own is None:
        return False
    if name in PADDED_WITH_TILES and built.dim() > 3:
        tiles = own.shape[1]
        return torch.equal(built[:, :tiles], own) and not bool(built[:, tiles:].any())
    return built.dtype == own.dtype and torch.equal(built, own)


def rows_of(pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return ``(R, 2)`` sources of pairs."""
    return torch.tensor(pairs)


@torch.no_grad()
def logits(family: Family, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the logits at each row's own tokens, ``(T, V)``."""
    found = family.own_model()(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return [row[own] for row, own in zip(found, batch["attention_mask"].bool(), strict=True)]
