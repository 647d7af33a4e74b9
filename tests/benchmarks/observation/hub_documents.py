"""Encoders of one's own choice and documents: LayoutLMv3, FLAVA, BERT beside ViT."""

from functools import partial
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    IMAGE_AND_TEXT,
    LAYER,
    TEXT,
    VISION,
    VOCABULARY,
    WIDTH,
    Batch,
    HubModule,
    answers,
    around,
    batches_of,
    pixels,
    regions,
    sentences,
)
from benchmarks.observation.parts import SIZE, generator, leaf
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy, MultilabelF1Score
from transformers import (
    AutoModel,
    BertConfig,
    FlavaConfig,
    FlavaModel,
    LayoutLMv3Config,
    LayoutLMv3ForSequenceClassification,
    ViTConfig,
)

KINDS = 3
FLAVA = FlavaConfig(
    image_config=VISION,
    text_config=LAYER | {"vocab_size": VOCABULARY, "max_position_embeddings": 24},
    multimodal_config=LAYER,
    image_codebook_config={"num_groups": 1, "input_channels": 1, "hidden_size": 2, "vocab_size": 4},
    hidden_size=WIDTH,
    projection_dim=8,
)
BERT_AND_VIT = (BertConfig(**TEXT), ViTConfig(**VISION))
BOXES_WITH_TEXT = IMAGE_AND_TEXT | {"text": [*IMAGE_AND_TEXT["text"], "bbox"]}


def layout(labels: int) -> LayoutLMv3Config:
    page = {"max_2d_position_embeddings": 32, "coordinate_size": 3, "shape_size": 2}
    return LayoutLMv3Config(**TEXT, **page, pad_token_id=1, input_size=16, patch_size=8, num_labels=labels)


def documents(seed: int) -> Batch:
    """Return words with their boxes, ``(B, T, 4)``, on a page, and the picture of the page."""
    words = sentences(seed, padding=1)
    draw = generator(seed + 600)
    corners = torch.randint(0, 16, (*words["input_ids"].shape, 4), generator=draw)
    boxes = torch.cat([corners[..., :2], corners[..., :2] + corners[..., 2:]], -1)
    picture = {"pixel_values": pixels(seed), "labels": answers(seed, KINDS)}
    return words | {"bbox": boxes * words["attention_mask"].unsqueeze(-1)} | picture


def inputs(seed: int) -> Batch:
    return sentences(seed) | {"pixel_values": pixels(seed)}


def labelled(seed: int) -> Batch:
    return inputs(seed) | {"label": answers(seed, KINDS)}


def genres(seed: int) -> Tensor:
    """Return ``(B, 3)`` flags, as integers."""
    return torch.randint(2, (SIZE, KINDS), generator=generator(seed + 700))


class DocumentClasses(HubModule):
    """Labels inside, metrics over the logits that come out."""

    def __init__(self, model):
        super().__init__(model)
        self.accuracy = MulticlassAccuracy(KINDS, average="micro")

    def forward(self, batch):
        return self.model(**batch)

    def common_step(self, batch):
        outputs = self(batch)
        self.accuracy(outputs.logits.argmax(-1), batch["labels"])
        self.log("accuracy", self.accuracy)
        return outputs.loss


class DocumentValues(HubModule):
    """One label makes it a regression: the mean squared error of squeezed logits is inside."""

    def common_step(self, batch):
        outputs = self.model(**batch)
        self.log("bias", (outputs.logits.squeeze(-1) - batch["labels"]).mean())
        return outputs.loss


def document_scores(module: Any, batch: Any) -> Tensor:
    known = {key: batch[key] for key in ("attention_mask", "bbox", "pixel_values")}
    states = module.model.layoutlmv3(batch["input_ids"], **known).last_hidden_state
    return module.model.classifier(states[:, 0])


class FlavaClasses(HubModule):
    """The first multimodal state, a head, a weighted loss."""

    def __init__(self, model):
        super().__init__(model)
        self.head = nn.Linear(WIDTH, KINDS)
        self.register_buffer("weights", torch.tensor([1.0, 2.0, 0.5]))

    def forward(self, input_ids, attention_mask, pixel_values):
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values)
        return self.head(found.multimodal_embeddings[:, 0, :])

    def common_step(self, batch):
        label = batch.pop("label")
        return functional.cross_entropy(self(**batch), label, weight=self.weights, label_smoothing=0.1)


def flava_scores(module: Any, batch: Any) -> Tensor:
    """Return the scores of the states of image and text, projected and joined behind a first state."""
    flava, mask = module.model, batch["attention_mask"]
    image = flava.image_model(batch["pixel_values"], output_hidden_states=True).hidden_states[-1]
    text = flava.text_model(batch["input_ids"], mask, output_hidden_states=True).hidden_states[-1]
    states = torch.cat([flava.image_to_mm_projection(image), flava.text_to_mm_projection(text)], 1)
    seen = torch.cat([mask.new_ones(len(mask), states.shape[1] + 1 - mask.shape[1]), mask], 1)
    return module.head(flava.multimodal_model(states, attention_mask=seen).last_hidden_state[:, 0])


class BertBesideVit(nn.Module):
    """The most common late fusion: pooled BERT beside the first state of ViT, then a small head."""

    def __init__(self, configs):
        super().__init__()
        self.text_encoder, self.image_encoder = (AutoModel.from_config(config) for config in configs)
        self.fusion = nn.Linear(2 * WIDTH, WIDTH)
        self.classifier = nn.Linear(WIDTH, KINDS)

    def forward(self, input_ids, attention_mask, pixel_values):
        text = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        image = self.image_encoder(pixel_values=pixel_values).last_hidden_state[:, 0]
        return self.fuse(text, image)

    def fuse(self, text, image):
        hidden = torch.tanh(self.fusion(torch.cat([text, image], 1)))
        return {"logits": self.classifier(hidden), "features": hidden}


class LateFusion(HubModule):
    """``self.model(ids, mask, image)`` returns a dict; several genres at once, a metric of probabilities."""

    def __init__(self, model):
        super().__init__(model)
        self.f1 = MultilabelF1Score(KINDS)

    def common_step(self, batch):
        logits = self.model(batch["input_ids"], batch["attention_mask"], batch["pixel_values"])["logits"]
        self.f1(torch.sigmoid(logits), batch["genres"])
        self.log("f1", self.f1)
        return functional.binary_cross_entropy_with_logits(logits, batch["genres"].float())


class Gated(HubModule):
    """Encoders called one by one in the step; attention by hand over the words, weighted by the image."""

    def common_step(self, batch):
        net, mask = self.model, batch["attention_mask"]
        words = net.text_encoder(batch["input_ids"], attention_mask=mask)[0]
        image = net.image_encoder(batch["pixel_values"])[0].mean(1)
        weights = (words @ image.unsqueeze(-1)).squeeze(-1).masked_fill(mask == 0, -1e4).softmax(-1)
        logits = net.fuse((weights.unsqueeze(-1) * words).sum(1), image)["logits"]
        return functional.nll_loss(functional.log_softmax(logits, dim=1), batch["label"])


def encoded(module: Any, batch: Any) -> tuple[Any, Any]:
    net = module.model
    return net.text_encoder(batch["input_ids"], batch["attention_mask"]), net.image_encoder(batch["pixel_values"])


def late_scores(module: Any, batch: Any) -> Tensor:
    text, image = encoded(module, batch)
    return module.model.fuse(text.pooler_output, image.last_hidden_state[:, 0])["logits"]


def gated_scores(module: Any, batch: Any) -> Tensor:
    text, image = encoded(module, batch)
    seen, words = image.last_hidden_state.mean(1), text.last_hidden_state
    logits = torch.einsum("btd,bd->bt", words, seen) - 1e4 * (batch["attention_mask"] == 0)
    return module.model.fuse(torch.einsum("bt,btd->bd", logits.softmax(1), words), seen)["logits"]


document = partial(
    Case,
    style="hub docs",
    module=around(DocumentClasses, LayoutLMv3ForSequenceClassification, layout(KINDS)),
    batches=batches_of(documents),
    scores=document_scores,
    target=leaf("labels"),
    task="multiclass",
)

CASES = [
    document("LayoutLMv3, boxes with the text", modalities=BOXES_WITH_TEXT),
    document("LayoutLMv3, boxes of no modality", modalities=IMAGE_AND_TEXT),
    document("LayoutLMv3, boxes a modality", modalities=IMAGE_AND_TEXT | {"layout": "bbox"}),
    document(
        "LayoutLMv3, a value",
        module=around(DocumentValues, LayoutLMv3ForSequenceClassification, layout(1)),
        batches=batches_of(lambda seed: documents(seed) | {"labels": regions(seed)[:, 0, 0]}),
        modalities=BOXES_WITH_TEXT,
        task="regression",
    ),
    Case(
        "FLAVA, own head, weighted loss",
        "hub heads",
        around(FlavaClasses, FlavaModel, FLAVA),
        batches_of(labelled),
        IMAGE_AND_TEXT,
        flava_scores,
        leaf("label"),
        "multiclass",
    ),
    Case(
        "BERT beside ViT, a dict, genres",
        "hub heads",
        around(LateFusion, BertBesideVit, BERT_AND_VIT),
        batches_of(lambda seed: inputs(seed) | {"genres": genres(seed)}),
        IMAGE_AND_TEXT,
        late_scores,
        leaf("genres"),
        "multilabel",
    ),
    Case(
        "BERT and ViT gated in the step",
        "hub heads",
        around(Gated, BertBesideVit, BERT_AND_VIT),
        batches_of(labelled),
        IMAGE_AND_TEXT,
        gated_scores,
        leaf("label"),
        "multiclass",
    ),
]
