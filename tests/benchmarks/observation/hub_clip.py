"""CLIP, SigLIP and CLAP: contrastive, or with a head on their features."""

from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    IMAGE_AND_TEXT,
    PLACEHOLDER,
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
from benchmarks.observation.parts import SIZE, generator, leaf
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy
from transformers import ClapConfig, ClapModel, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

KINDS, SHARED = 3, 8
END = PLACEHOLDER
"""CLIP reads a text off the place of its end, its largest id."""

CLIP = CLIPConfig(
    text_config=TEXT | {"bos_token_id": 1, "eos_token_id": END, "pad_token_id": 0},
    vision_config=VISION,
    projection_dim=SHARED,
    logit_scale_init_value=1.5,
)
SIGLIP = SiglipConfig(
    text_config=TEXT | {"projection_size": WIDTH, "bos_token_id": 1, "eos_token_id": 2}, vision_config=VISION
)
SPECTRUM = {
    "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
    "num_hidden_layers": 2, "window_size": 2, "spec_size": 16, "num_mel_bins": 4, "patch_size": 2,
    "patch_stride": [2, 2],
}  # fmt: skip
CLAP = ClapConfig(text_config=TEXT | {"pad_token_id": 1}, audio_config=SPECTRUM, projection_dim=SHARED)


def clip_inputs(seed: int) -> Batch:
    words = sentences(seed)
    words["input_ids"][words["input_ids"] == 2] = END
    return words | {"pixel_values": pixels(seed)}


def clip_image(clip: Any, batch: Any) -> Tensor:
    return clip.visual_projection(clip.vision_model(batch["pixel_values"]).pooler_output)


def clip_text(clip: Any, batch: Any) -> Tensor:
    return clip.text_projection(clip.text_model(batch["input_ids"], batch["attention_mask"]).pooler_output)


def clip_grid(module: Any, batch: Any) -> Tensor:
    clip = module.model
    return clip.logit_scale.exp() * unit(clip_image(clip, batch)) @ unit(clip_text(clip, batch)).T


def joined(left: Tensor, right: Tensor) -> Tensor:
    left, right = unit(left), unit(right)
    return torch.cat([left, right, left * right], -1)


class ReturnedLoss(HubModule):
    """``return_loss=True``: grid and loss are inside."""

    def common_step(self, batch):
        return self.model(**batch, return_loss=True).loss


class WholeBatch(HubModule):
    """As in transformers' example of contrastive training, whose batches hold ``return_loss=True``."""

    def common_step(self, batch):
        return self.model(**batch)["loss"]


class SymmetricLoss(HubModule):
    """Both grids come out, images first; the loss is written out."""

    def forward(self, batch):
        return self.model(**batch)

    def common_step(self, batch):
        outputs = self(batch)
        own = torch.arange(len(outputs.logits_per_image), device=self.device)
        image_loss = functional.cross_entropy(outputs.logits_per_image, own)
        text_loss = functional.cross_entropy(outputs.logits_per_text, own)
        return (image_loss + text_loss) / 2


class FeaturesInTheStep(HubModule):
    """No ``forward``: both encoders are called in the step, their features joined and classified there."""

    def __init__(self, model):
        super().__init__(model)
        self.head = nn.Sequential(nn.Linear(3 * SHARED, WIDTH), nn.ReLU(), nn.Linear(WIDTH, KINDS))
        self.accuracy = MulticlassAccuracy(KINDS, average="micro")

    def common_step(self, batch):
        words = {key: batch[key] for key in ("input_ids", "attention_mask")}
        image = self.model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
        text = self.model.get_text_features(**words).pooler_output
        logits = self.head(joined(image, text))
        self.accuracy(logits.softmax(-1), batch["label"])
        self.log("accuracy", self.accuracy)
        return functional.cross_entropy(logits, batch["label"])


class MemeNet(nn.Module):
    """A wrapper as for hateful memes: CLIP, then one logit."""

    def __init__(self, config):
        super().__init__()
        self.clip = CLIPModel(config)
        self.output = nn.Linear(3 * SHARED, 1)

    def forward(self, pixel_values, input_ids, attention_mask):
        found = self.clip(pixel_values=pixel_values, input_ids=input_ids, attention_mask=attention_mask)
        return self.output(joined(found.image_embeds, found.text_embeds)).squeeze(-1)


class Memes(HubModule):
    """The wrapper is called by order; one logit against a flag that is an integer."""

    def common_step(self, batch):
        logits = self.model(batch["pixel_values"], batch["input_ids"], batch["attention_mask"])
        self.log("flagged", (torch.sigmoid(logits) > 0.5).float().mean())
        return functional.binary_cross_entropy_with_logits(logits, batch["hateful"].to(logits.dtype))


def meme_scores(module: Any, batch: Any) -> Tensor:
    net = module.model
    return net.output(joined(clip_image(net.clip, batch), clip_text(net.clip, batch)))


def siglip_inputs(seed: int) -> Batch:
    """Return texts of eight tokens without a mask, as SigLIP is trained, and images."""
    return {"input_ids": sentences(seed, shortest=8)["input_ids"], "pixel_values": pixels(seed)}


def siglip_grid(module: Any, batch: Any) -> Tensor:
    siglip = module.model
    image = unit(siglip.vision_model(batch["pixel_values"]).pooler_output)
    text = unit(siglip.text_model(batch["input_ids"]).pooler_output)
    return siglip.logit_scale.exp() * image @ text.T + siglip.logit_bias


def clap_inputs(seed: int) -> Batch:
    """Return captions and spectrograms ``(B, 1, 64 frames, 4 bins)``, none of them longer than the window."""
    draw = generator(seed + 400)
    sound = torch.randn(SIZE, 1, 64, 4, generator=draw) + torch.randn(SIZE, 1, 1, 4, generator=draw)
    return sentences(seed, padding=1) | {
        "input_features": sound,
        "is_longer": torch.zeros(SIZE, 1, dtype=torch.bool),
    }


def clap_grid(module: Any, batch: Any) -> Tensor:
    """Return ``(B, B)`` at the scale of the texts, which transformers gives to its first loss."""
    clap = module.model
    sound = clap.audio_projection(clap.audio_model(batch["input_features"], batch["is_longer"]).pooler_output)
    words = clap.text_model(batch["input_ids"], attention_mask=batch["attention_mask"]).pooler_output
    return clap.logit_scale_t.exp() * unit(sound) @ unit(clap.text_projection(words)).T


SIGLIP_MODALITIES = {"image": "pixel_values", "text": "input_ids"}
CLAP_MODALITIES = {"audio": ["input_features", "is_longer"], "text": ["input_ids", "attention_mask"]}
PAIRS = "hub pairs"

CASES = [
    Case(
        "CLIP, return_loss",
        PAIRS,
        around(ReturnedLoss, CLIPModel, CLIP),
        batches_of(clip_inputs),
        IMAGE_AND_TEXT,
        own_pairs(clip_grid),
        None,
        None,
    ),
    Case(
        "CLIP, return_loss in the batch",
        PAIRS,
        around(WholeBatch, CLIPModel, CLIP),
        batches_of(lambda seed: clip_inputs(seed) | {"return_loss": True}),
        IMAGE_AND_TEXT,
        own_pairs(clip_grid),
        None,
        None,
    ),
    Case(
        "CLIP, loss over both grids",
        PAIRS,
        around(SymmetricLoss, CLIPModel, CLIP),
        batches_of(clip_inputs),
        IMAGE_AND_TEXT,
        own_pairs(clip_grid),
        None,
        None,
    ),
    Case(
        "CLIP, features joined in the step",
        "hub heads",
        around(FeaturesInTheStep, CLIPModel, CLIP),
        batches_of(lambda seed: clip_inputs(seed) | {"label": answers(seed, KINDS)}),
        IMAGE_AND_TEXT,
        lambda module, batch: module.head(joined(clip_image(module.model, batch), clip_text(module.model, batch))),
        leaf("label"),
        "multiclass",
    ),
    Case(
        "CLIP in a wrapper, one logit",
        "hub heads",
        around(Memes, MemeNet, CLIP),
        batches_of(lambda seed: clip_inputs(seed) | {"hateful": answers(seed, 2)}),
        IMAGE_AND_TEXT,
        meme_scores,
        leaf("hateful"),
        "binary",
    ),
    Case(
        "SigLIP, return_loss",
        PAIRS,
        around(ReturnedLoss, SiglipModel, SIGLIP),
        batches_of(siglip_inputs),
        SIGLIP_MODALITIES,
        own_pairs(siglip_grid),
        None,
        None,
    ),
    Case(
        "CLAP, return_loss",
        PAIRS,
        around(ReturnedLoss, ClapModel, CLAP),
        batches_of(clap_inputs),
        CLAP_MODALITIES,
        own_pairs(clap_grid),
        None,
        None,
    ),
]
