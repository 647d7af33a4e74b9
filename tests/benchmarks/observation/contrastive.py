"""Losses that compare examples with one another: what is measured is the score of a pair."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.parts import User, named
from torch import Tensor, nn
from torch.nn import functional


class Dual(User):
    """Two encoders into one space."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.project = nn.Linear(8, 6)

    def encoded(self, batch: Any) -> tuple[Tensor, Tensor]:
        image = self.project(self.net.image(batch["image"].flatten(1)))
        text = self.project(self.net.text(batch["text"]).mean(1))
        return functional.normalize(image, dim=-1), functional.normalize(text, dim=-1)


class ImageToText(Dual):
    def step(self, batch):
        image, text = self.encoded(batch)
        return functional.cross_entropy(self.scale.exp() * image @ text.T, torch.arange(len(image)))


class TextToImage(Dual):
    """Rows are texts, so that the grid is the other way round."""

    def step(self, batch):
        image, text = self.encoded(batch)
        return functional.cross_entropy(text @ image.T * self.scale.exp(), torch.arange(len(image)))


class BothWays(Dual):
    """A forward that returns the features and the scale, as CLIP's packages have it."""

    def forward(self, image, text):
        return *self.encoded({"image": image, "text": text}), self.scale.exp()

    def step(self, batch):
        image, text, scale = self(batch["image"], batch["text"])
        logits, own = scale * image @ text.T, torch.arange(len(image), device=self.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


class PositivesFirst(Dual):
    """The own pair's score comes first and those with other examples after it, so that every label is 0."""

    def step(self, batch):
        image, text = self.encoded(batch)
        others = [(image * text.roll(shift, 0)).sum(1) for shift in (1, 2, 3)]
        logits = torch.stack([(image * text).sum(1), *others], 1) * self.scale.exp()
        return functional.cross_entropy(logits, torch.zeros(len(image), dtype=torch.long))


class SigmoidPairs(Dual):
    """SigLIP's loss: every pair is a yes or a no."""

    def step(self, batch):
        image, text = self.encoded(batch)
        logits = image @ text.T * self.scale.exp() - 1
        signs = 2 * torch.eye(len(image)) - 1
        return -functional.logsigmoid(signs * logits).sum() / len(image)


class Triplet(Dual):
    def step(self, batch):
        image, text = self.encoded(batch)
        return functional.triplet_margin_loss(image, text, text.roll(1, 0))


class CosineEmbedding(Dual):
    def step(self, batch):
        image, text = self.encoded(batch)
        return functional.cosine_embedding_loss(image, text, torch.ones(len(image)))


class Matched(Dual):
    """Pairs with a label: 1 where picture and text belong together."""

    def step(self, batch):
        image, text = self.encoded(batch)
        return functional.cosine_embedding_loss(image, text, 2 * (batch["y"] > 0).float() - 1)


def similarity(module: Any, batch: Any) -> Tensor:
    image, text = module.encoded(batch)
    return module.scale.exp() * (image * text).sum(1)


def less_one(module: Any, batch: Any) -> Tensor:
    return similarity(module, batch) - 1


def cosine(module: Any, batch: Any) -> Tensor:
    image, text = module.encoded(batch)
    return (image * text).sum(1)


CASES: list[Case] = [
    named("InfoNCE, rows are pictures", "contrastive", ImageToText, scores=similarity, target=None, task=None),
    named("InfoNCE, rows are texts", "contrastive", TextToImage, scores=similarity, target=None, task=None),
    named("features and scale returned", "contrastive", BothWays, scores=similarity, target=None, task=None),
    named("InfoNCE, own pair first", "contrastive", PositivesFirst, scores=None, target=None, task=None, expect="ask"),
    named("SigLIP", "contrastive", SigmoidPairs, scores=less_one, target=None, task=None),
    named("a triplet", "contrastive", Triplet, scores=cosine, target=None, task=None),
    named("cosine embeddings", "contrastive", CosineEmbedding, scores=cosine, target=None, task=None),
    named("cosine embeddings with labels", "contrastive", Matched, scores=None, target=None, task=None, expect="ask"),
]
