"""Further towers: ALIGN and SigLIP 2; two heads of one ViLT; and a detector, whose boxes are no rows of examples."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    IMAGE_AND_TEXT,
    TEXT,
    VISION,
    WIDTH,
    Batch,
    HubModule,
    answers,
    around,
    batches_of,
    own_pairs,
    pixels,
    sentences,
    unit,
)
from benchmarks.observation.hub_clip import ReturnedLoss
from benchmarks.observation.hub_vilt import MODALITIES, config, inputs, pooled
from benchmarks.observation.parts import SIZE, generator, leaf
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AlignConfig,
    AlignModel,
    Siglip2Config,
    Siglip2Model,
    ViltModel,
    YolosConfig,
    YolosModel,
)

KINDS, DOMAINS, QUERIES = 3, 2, 4
ALIGN = AlignConfig(
    text_config=TEXT | {"pad_token_id": 0},
    vision_config={
        "image_size": 16, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": WIDTH, "kernel_sizes": [3],
        "in_channels": [8], "out_channels": [8], "depthwise_padding": [], "strides": [1], "num_block_repeats": [1],
        "expand_ratios": [1], "squeeze_expansion_ratio": 0.25,
    },
    projection_dim=8,
)  # fmt: skip
SIGLIP2 = Siglip2Config(
    text_config=TEXT | {"projection_size": WIDTH, "bos_token_id": 1, "eos_token_id": 2},
    vision_config={**VISION, "num_patches": 4},
)
PATCHES = {"image": ["pixel_values", "pixel_attention_mask", "spatial_shapes"], "text": "input_ids"}


def align_inputs(seed: int) -> Batch:
    return sentences(seed) | {"pixel_values": pixels(seed)}


def align_grid(module: Any, batch: Any) -> Tensor:
    """Return ``(B, B)`` cosines, of which the temperature is a divisor."""
    align, words = module.model, {key: batch[key] for key in ("input_ids", "attention_mask")}
    image = align.vision_model(batch["pixel_values"]).pooler_output
    text = align.text_projection(align.text_model(**words).last_hidden_state[:, 0])
    return unit(image) @ unit(text).T / align.temperature


def siglip2_inputs(seed: int) -> Batch:
    """Return texts of eight tokens, and pictures as rows of four patches with their places."""
    patches = pixels(seed).unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    return {
        "input_ids": sentences(seed, shortest=8)["input_ids"],
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(SIZE, 4, dtype=torch.long),
        "spatial_shapes": torch.full((SIZE, 2), 2),
    }


def siglip2_grid(module: Any, batch: Any) -> Tensor:
    siglip = module.model
    image = siglip.vision_model(batch["pixel_values"], batch["pixel_attention_mask"], batch["spatial_shapes"])
    text = siglip.text_model(batch["input_ids"]).pooler_output
    return siglip.logit_scale.exp() * unit(image.pooler_output) @ unit(text).T + siglip.logit_bias


class TwoAnswers(HubModule):
    """Two heads over ViLT's pooled state, each with labels of its own; the answer has a weight."""

    def __init__(self, model):
        super().__init__(model)
        self.answer, self.domain = nn.Linear(WIDTH, KINDS), nn.Linear(WIDTH, DOMAINS)

    def forward(self, **known):
        state = self.model(**known).pooler_output
        return {"answer": self.answer(state), "domain": self.domain(state)}

    def common_step(self, batch):
        labels = {name: batch.pop(name) for name in ("answer", "domain")}
        found = self(**batch)
        losses = {name: functional.cross_entropy(found[name], labels[name]) for name in labels}
        return 2 * losses["answer"] + losses["domain"]


def two_labels(seed: int) -> Batch:
    return inputs(seed) | {"answer": answers(seed, KINDS), "domain": answers(seed + 7, DOMAINS)}


class Detector(nn.Module):
    """Boxes of what a phrase is about: states of a YOLOS's queries, moved by the phrase."""

    def __init__(self, config):
        super().__init__()
        self.yolos, self.words = YolosModel(config), nn.Embedding(TEXT["vocab_size"], WIDTH)
        self.box, self.kind = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, KINDS + 1)

    def forward(self, pixel_values, input_ids):
        states = self.yolos(pixel_values).last_hidden_state[:, -QUERIES:] + self.words(input_ids).mean(1, keepdim=True)
        return {"boxes": self.box(states).sigmoid(), "logits": self.kind(states)}


class Matched(HubModule):
    """Each picture has boxes of its own number; the nearest queries are matched with them, as DETR's loss does."""

    def common_step(self, batch):
        found = self.model(batch["pixel_values"], batch["input_ids"])
        rows = zip(found["boxes"], found["logits"], batch["targets"], strict=True)
        return torch.stack([self.lost(*one) for one in rows]).sum()

    def lost(self, boxes, logits, target):
        nearest = torch.cdist(boxes, target["boxes"], p=1).argmin(0)
        kinds = torch.full((QUERIES,), KINDS).index_copy(0, nearest, target["class_labels"])
        return functional.cross_entropy(logits, kinds) + functional.l1_loss(boxes[nearest], target["boxes"])


def detections(seed: int) -> Batch:
    draw = generator(seed + 970)
    targets = [
        {
            "boxes": torch.rand(1 + place % 3, 4, generator=draw),
            "class_labels": torch.randint(KINDS, (1 + place % 3,), generator=draw),
        }
        for place in range(SIZE)
    ]
    return {**align_inputs(seed), "targets": targets}


PAIRS = "hub pairs"

CASES = [
    Case(
        "ALIGN, return_loss",
        PAIRS,
        around(ReturnedLoss, AlignModel, ALIGN),
        batches_of(align_inputs),
        IMAGE_AND_TEXT,
        own_pairs(align_grid),
        None,
        None,
    ),
    Case(
        "SigLIP 2, return_loss",
        PAIRS,
        around(ReturnedLoss, Siglip2Model, SIGLIP2),
        batches_of(siglip2_inputs),
        PATCHES,
        own_pairs(siglip2_grid),
        None,
        None,
    ),
    Case(
        "ViLT, an answer and a domain",
        "hub ViLT",
        around(TwoAnswers, ViltModel, config(KINDS)),
        batches_of(two_labels),
        MODALITIES,
        lambda module, batch: module.answer(pooled(module.model, batch)),
        leaf("answer"),
        "multiclass",
        others=1,
    ),
    Case(
        "YOLOS, boxes of a phrase",
        "hub boxes",
        around(
            Matched,
            Detector,
            YolosConfig(
                **{**VISION, "image_size": [16, 16]}, num_detection_tokens=QUERIES, use_mid_position_embeddings=False
            ),
        ),
        batches_of(detections),
        {"image": "pixel_values", "text": "input_ids"},
        None,
        None,
        None,
        expect="refuse",
    ),
]
