"""BLIP and BridgeTower: matching, contrast, and answers that a decoder writes."""

from functools import partial
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
    pixel_masks,
    pixels,
    sentences,
    unit,
)
from benchmarks.observation.parts import SIZE, generator, leaf
from torch import Tensor
from torch.nn import functional
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BridgeTowerConfig,
    BridgeTowerForContrastiveLearning,
    BridgeTowerForImageAndTextRetrieval,
)

BEGIN, TEMPERATURE = 1, 0.2
SPECIAL = {"pad_token_id": 0, "bos_token_id": BEGIN, "sep_token_id": 2, "eos_token_id": 2}
BLIP = BlipConfig(
    text_config=TEXT | SPECIAL | {"encoder_hidden_size": WIDTH},
    vision_config=VISION,
    projection_dim=8,
    image_text_hidden_size=8,
)
TOWER = 64
"""Width of BridgeTower: heads of 64 are fixed in its image encoder, and its contrast needs one width throughout."""
BRIDGE_TOWER = BridgeTowerConfig(
    hidden_size=TOWER,
    num_attention_heads=2,
    num_hidden_layers=2,
    intermediate_size=WIDTH,
    contrastive_hidden_size=8,
    logit_scale_init_value=1.0,
    text_config=TEXT | {"hidden_size": TOWER, "num_hidden_layers": 3, "pad_token_id": 1},
    vision_config={"hidden_size": TOWER, "num_hidden_layers": 3, "patch_size": 8, "image_size": 16},
)
TOWER_MODALITIES = IMAGE_AND_TEXT | {"image": ["pixel_values", "pixel_mask"]}


def blip_inputs(seed: int) -> Batch:
    return sentences(seed) | {"pixel_values": pixels(seed)}


def blip_image(blip: Any, batch: Any) -> Tensor:
    return blip.vision_model(batch["pixel_values"]).last_hidden_state


def blip_question(blip: Any, batch: Any) -> Tensor:
    """Return the states of the words that have seen the image."""
    image = {"encoder_hidden_states": blip_image(blip, batch)}
    return blip.text_encoder(batch["input_ids"], batch["attention_mask"], **image).last_hidden_state


def match_scores(module: Any, batch: Any) -> Tensor:
    return module.model.itm_head(blip_question(module.model, batch)[:, 0])


class MatchPopped(HubModule):
    """``itm_score`` against match or mismatch, which leaves the batch first."""

    def common_step(self, batch):
        labels = batch.pop("labels")
        scores = self.model(**batch).itm_score
        self.log("accuracy", (scores.argmax(1) == labels).float().mean())
        return functional.cross_entropy(scores, labels)


class Cosines(HubModule):
    """``use_itm_head=False``: cosines of all pairs, a temperature and both losses outside."""

    def common_step(self, batch):
        similarity = self.model(**batch, use_itm_head=False).itm_score / TEMPERATURE
        own = torch.arange(similarity.shape[0], device=similarity.device)
        return sum(functional.cross_entropy(grid, own) for grid in (similarity, similarity.t())) / 2


class MatchAndContrast(MatchPopped, Cosines):
    """As ALBEF and BLIP are trained: match or mismatch, and the contrast of all pairs."""

    def common_step(self, batch):
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        return Cosines.common_step(self, inputs) + MatchPopped.common_step(self, dict(batch))


def cosine_grid(module: Any, batch: Any) -> Tensor:
    blip = module.model
    words = blip.text_encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state[:, 0]
    return unit(blip.vision_proj(blip_image(blip, batch)[:, 0])) @ unit(blip.text_proj(words)).T / TEMPERATURE


def answered(seed: int, words: int) -> Batch:
    """Return questions with answers ``(B, 1 + words)``: a 1, which begins them, and words out of five."""
    written = torch.randint(3, 8, (SIZE, words), generator=generator(seed + 500))
    return blip_inputs(seed) | {"labels": functional.pad(written, (1, 0), value=BEGIN)}


def first_word_scores(module: Any, batch: Any) -> Tensor:
    """Return ``(B, 40)``, what the decoder says after the 1."""
    question = {
        "encoder_hidden_states": blip_question(module.model, batch),
        "encoder_attention_mask": batch["attention_mask"],
    }
    return module.model.text_decoder(batch["labels"][:, :1], **question).logits[:, 0]


class DecoderLoss(HubModule):
    """The answer goes in as labels and as the decoder's input; only the loss comes out, no scores."""

    def common_step(self, batch):
        outputs = self.model(
            input_ids=batch["input_ids"],
            pixel_values=batch["pixel_values"],
            attention_mask=batch["attention_mask"],
            labels=batch["labels"],
        )
        return outputs.loss


class CaptionLoss(HubModule):
    """As in public notebooks on captions: the token ids are input and labels."""

    def common_step(self, batch):
        input_ids, pixel_values = batch.pop("input_ids"), batch.pop("pixel_values")
        return self.model(input_ids=input_ids, pixel_values=pixel_values, labels=input_ids).loss


def tower_inputs(seed: int) -> Batch:
    return sentences(seed, padding=1) | {"pixel_values": pixels(seed), "pixel_mask": pixel_masks()}


def tower_outputs(module: Any, batch: Any, **more: bool) -> Any:
    known = {key: batch[key] for key in ("input_ids", "attention_mask", "pixel_values", "pixel_mask")}
    return module.model.bridgetower(**known, **more)


class LabelsInside(HubModule):
    """Labels go in with the rest; loss and logits come out."""

    def common_step(self, batch):
        outputs = self.model(**batch)
        self.log("accuracy", (outputs.logits.argmax(-1) == batch["labels"]).float().mean())
        return outputs.loss


class ThreeContrasts(HubModule):
    """Texts against images, texts against both, images against both; ``logits`` are the three embeddings."""

    def forward(self, **inputs):
        return self.model(**inputs, return_loss=True)

    def common_step(self, batch):
        return self(**batch).loss


def tower_grid(module: Any, batch: Any) -> Tensor:
    """Return ``(B, B)``: images against texts, each encoded by itself."""
    outputs = module.model(**{key: batch[key] for key in ("input_ids", "attention_mask", "pixel_values", "pixel_mask")})
    return module.model.logit_scale.exp() * outputs.image_embeds @ outputs.text_embeds.T


blip = partial(Case, style="hub BLIP", modalities=IMAGE_AND_TEXT)

CASES = [
    blip(
        "BLIP, match popped",
        module=around(MatchPopped, BlipForImageTextRetrieval, BLIP),
        batches=batches_of(lambda seed: blip_inputs(seed) | {"labels": answers(seed, 2)}),
        scores=match_scores,
        target=leaf("labels"),
        task="multiclass",
    ),
    blip(
        "BLIP, match and contrast",
        module=around(MatchAndContrast, BlipForImageTextRetrieval, BLIP),
        batches=batches_of(lambda seed: blip_inputs(seed) | {"labels": answers(seed, 2)}),
        scores=match_scores,
        target=leaf("labels"),
        task="multiclass",
        others=1,
    ),
    blip(
        "BLIP, cosines and a temperature",
        module=around(Cosines, BlipForImageTextRetrieval, BLIP),
        batches=batches_of(blip_inputs),
        scores=own_pairs(cosine_grid),
        target=None,
        task=None,
    ),
    blip(
        "BLIP, answers of one word",
        module=around(DecoderLoss, BlipForQuestionAnswering, BLIP),
        batches=batches_of(lambda seed: answered(seed, 1)),
        scores=first_word_scores,
        target=lambda batch: batch["labels"][:, 1],
        task="multiclass",
        expect="ask",
    ),
    blip(
        "BLIP, answers of three words",
        module=around(DecoderLoss, BlipForQuestionAnswering, BLIP),
        batches=batches_of(lambda seed: answered(seed, 3)),
        scores=None,
        target=None,
        task=None,
        expect="refuse",
    ),
    blip(
        "BLIP, captions that are their labels",
        module=around(CaptionLoss, BlipForConditionalGeneration, BLIP),
        batches=batches_of(blip_inputs),
        scores=None,
        target=None,
        task=None,
        expect="ask",
    ),
    Case(
        "BridgeTower, match inside",
        "hub BLIP",
        around(LabelsInside, BridgeTowerForImageAndTextRetrieval, BRIDGE_TOWER),
        batches_of(lambda seed: tower_inputs(seed) | {"labels": answers(seed, 2)}),
        TOWER_MODALITIES,
        lambda module, batch: module.model.itm_score(tower_outputs(module, batch).pooler_output),
        leaf("labels"),
        "multiclass",
    ),
    Case(
        "BridgeTower, three contrasts",
        "hub pairs",
        around(ThreeContrasts, BridgeTowerForContrastiveLearning, BRIDGE_TOWER),
        batches_of(tower_inputs),
        TOWER_MODALITIES,
        own_pairs(tower_grid),
        None,
        None,
    ),
]
