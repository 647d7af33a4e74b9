"""ViLT in its three classes: soft answers, two images, pairs that match."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    IMAGE_AND_TEXT,
    TEXT,
    Batch,
    HubModule,
    answers,
    around,
    batches_of,
    pixel_masks,
    pixels,
    sentences,
    soft_answers,
)
from benchmarks.observation.parts import leaf
from torch import Tensor
from torch.nn import functional
from torchmetrics.classification import BinaryAccuracy
from transformers import (
    ViltConfig,
    ViltForImageAndTextRetrieval,
    ViltForImagesAndTextClassification,
    ViltForQuestionAnswering,
)

ANSWERS = 5
MODALITIES = IMAGE_AND_TEXT | {"image": ["pixel_values", "pixel_mask"]}


def config(labels: int, **more: int) -> ViltConfig:
    return ViltConfig(**TEXT, image_size=16, patch_size=8, num_labels=labels, **more)


def inputs(seed: int, *images: int) -> Batch:
    return sentences(seed) | {"pixel_values": pixels(seed, *images), "pixel_mask": pixel_masks(*images)}


def with_corners(seed: int) -> Batch:
    """Return a batch in which every other image is smaller: its pixels are padded to the largest."""
    batch = inputs(seed)
    batch["pixel_values"][::2, :, 8:], batch["pixel_mask"][::2, 8:] = 0, 0
    return batch | {"labels": soft_answers(seed, ANSWERS)}


def pooled(model: Any, batch: Any, image: Any = ..., kind: int = 1) -> Tensor:
    """Return ViLT's pooled state of the words and one image."""
    seen = {key: batch[key][image] for key in MODALITIES["image"]}
    return model(batch["input_ids"], batch["attention_mask"], **seen, image_token_type_idx=kind).pooler_output


def answer_scores(module: Any, batch: Any) -> Tensor:
    return module.model.classifier(pooled(module.model.vilt, batch))


def pair_scores(module: Any, batch: Any) -> Tensor:
    vilt = module.model.vilt
    return module.model.classifier(
        torch.cat([pooled(vilt, batch, (slice(None), place), place + 1) for place in range(2)], 1)
    )


def match_scores(module: Any, batch: Any) -> Tensor:
    return module.model.rank_output(pooled(module.model.vilt, batch))


class LossOfOutputs(HubModule):
    """``self.model(**batch).loss`` and nothing else."""

    def common_step(self, batch):
        return self.model(**batch).loss


class ArgumentsByName(HubModule):
    """As in public notebooks: all arguments by name, ``forward`` returns the outputs, the step takes their loss."""

    def forward(self, input_ids, attention_mask, pixel_values, pixel_mask, labels=None):
        return self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            labels=labels,
        )

    def common_step(self, batch):
        outputs = self(
            batch["input_ids"], batch["attention_mask"], batch["pixel_values"], batch["pixel_mask"], batch["labels"]
        )
        self.log("accuracy", (outputs.logits.argmax(-1) == batch["labels"]).float().mean())
        return outputs.loss


class MatchOutside(HubModule):
    """ViLT's retrieval raises where labels go in: loss and metric are outside, over a squeezed logit."""

    def __init__(self, model):
        super().__init__(model)
        self.accuracy = BinaryAccuracy()

    def common_step(self, batch):
        known = {key: value for key, value in batch.items() if key != "match"}
        logits = self.model(**known).logits.squeeze(-1)
        self.accuracy(logits.sigmoid(), batch["match"])
        self.log("accuracy", self.accuracy)
        return functional.binary_cross_entropy_with_logits(logits, batch["match"].float())


class OneOfFour(HubModule):
    """A row's text against its own image and three others' of the batch: which one is it?"""

    def common_step(self, batch):
        words = {key: batch[key] for key in ("input_ids", "attention_mask")}
        shifted = [{key: batch[key].roll(by, 0) for key in ("pixel_values", "pixel_mask")} for by in range(4)]
        logits = torch.cat([self.model(**words, **image).logits for image in shifted], 1)
        return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


CASES = [
    Case(
        "ViLT, soft answers, only the loss",
        "hub ViLT",
        around(LossOfOutputs, ViltForQuestionAnswering, config(ANSWERS)),
        batches_of(lambda seed: inputs(seed) | {"labels": soft_answers(seed, ANSWERS)}),
        MODALITIES,
        answer_scores,
        leaf("labels"),
        "multilabel",
    ),
    Case(
        "ViLT, images of two sizes",
        "hub ViLT",
        around(LossOfOutputs, ViltForQuestionAnswering, config(ANSWERS)),
        batches_of(with_corners),
        MODALITIES,
        answer_scores,
        leaf("labels"),
        "multilabel",
    ),
    Case(
        "ViLT, two images a text",
        "hub ViLT",
        around(
            ArgumentsByName, ViltForImagesAndTextClassification, config(2, num_images=2, modality_type_vocab_size=3)
        ),
        batches_of(lambda seed: inputs(seed, 2) | {"labels": answers(seed, 2)}),
        MODALITIES,
        pair_scores,
        leaf("labels"),
        "multiclass",
    ),
    Case(
        "ViLT, match or mismatch",
        "hub ViLT",
        around(MatchOutside, ViltForImageAndTextRetrieval, config(1)),
        batches_of(lambda seed: inputs(seed) | {"match": answers(seed, 2)}),
        MODALITIES,
        match_scores,
        leaf("match"),
        "binary",
    ),
    Case(
        "ViLT, one of four images",
        "hub ViLT",
        around(OneOfFour, ViltForImageAndTextRetrieval, config(1)),
        batches_of(inputs),
        MODALITIES,
        match_scores,
        None,
        None,
        expect="refuse",
    ),
]
