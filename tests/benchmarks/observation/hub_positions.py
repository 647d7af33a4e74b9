"""A class for every word or pixel, of two modalities: LayoutLMv3, LiLT, BERT beside ViT, SegFormer, CLIPSeg."""

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
    around,
    batches_of,
    pixels,
    sentences,
)
from benchmarks.observation.hub_clip import END, clip_inputs
from benchmarks.observation.hub_documents import BERT_AND_VIT, BOXES_WITH_TEXT, documents, layout
from benchmarks.observation.parts import SIZE, generator, leaf
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    LayoutLMv3ForTokenClassification,
    LiltConfig,
    LiltForTokenClassification,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerModel,
)

TAGS, KINDS, VOID = 3, 4, 255
LILT = TEXT | {"hidden_size": 24, "channel_shrink_ratio": 2, "max_2d_position_embeddings": 40, "pad_token_id": 1}
PYRAMID = {
    "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16], "patch_sizes": [7, 3],
    "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [1, 1], "decoder_hidden_size": 8,
}  # fmt: skip


# -- Words -------------------------------------------------------------------------------------------------------------


def tags(batch: Batch, seed: int) -> Tensor:
    """Return ``(B, T)`` tags; the first word, the last one and padding have none."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    drawn = torch.randint(TAGS, ids.shape, generator=generator(seed + 800))
    place, last = torch.arange(ids.shape[1]), mask.sum(1, keepdim=True) - 1
    return drawn.masked_fill((place == 0) | (place >= last), -100)


def forms(seed: int) -> Batch:
    """Return words with boxes on a page, its picture, and the words' tags."""
    batch = documents(seed)
    return batch | {"labels": tags(batch, seed)}


def boxed_words(seed: int) -> Batch:
    batch = forms(seed)
    return {key: batch[key] for key in ("input_ids", "attention_mask", "bbox", "labels")}


class LabelsInside(HubModule):
    """``self.model(**batch).loss`` and nothing else."""

    def common_step(self, batch):
        return self.model(**batch).loss


def layout_tags(module: Any, batch: Any) -> Tensor:
    known = {key: batch[key] for key in ("attention_mask", "bbox", "pixel_values")}
    states = module.model.layoutlmv3(batch["input_ids"], **known).last_hidden_state
    return module.model.classifier(states[:, : batch["input_ids"].shape[1]]).transpose(1, 2)


def lilt_tags(module: Any, batch: Any) -> Tensor:
    found = module.model.lilt(batch["input_ids"], batch["bbox"], batch["attention_mask"]).last_hidden_state
    return module.model.classifier(found).transpose(1, 2)


class Tagger(nn.Module):
    """Every word's state, and what the picture says, joined."""

    def __init__(self, configs):
        super().__init__()
        self.bert, self.vit = (AutoModel.from_config(config) for config in configs)
        self.out = nn.Linear(2 * WIDTH, TAGS)

    def forward(self, input_ids, attention_mask, pixel_values):
        words = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        seen = self.vit(pixel_values=pixel_values).last_hidden_state[:, 0]
        both = torch.cat([words, words * seen.unsqueeze(1)], -1)
        return self.out(both)


class OwnTagger(HubModule):
    """As in tutorials on tagging: logits and labels are flattened for a loss that is a module."""

    def __init__(self, model):
        super().__init__(model)
        self.criterion = nn.CrossEntropyLoss()

    def common_step(self, batch):
        labels = batch["labels"]
        logits = self.model(batch["input_ids"], batch["attention_mask"], batch["pixel_values"])
        return self.criterion(logits.view(-1, TAGS), labels.view(-1))


def own_tags(module: Any, batch: Any) -> Tensor:
    """Return ``(B, 3, T)``, a word after the other."""
    net = module.model
    words = net.bert(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    seen = net.vit(batch["pixel_values"]).last_hidden_state[:, 0]
    return torch.stack([net.out(torch.cat([word, word * seen], 1)) for word in words.unbind(1)], 2)


def seen_words(seed: int) -> Batch:
    batch = sentences(seed) | {"pixel_values": pixels(seed)}
    return batch | {"labels": tags(batch, seed)}


# -- Pixels ------------------------------------------------------------------------------------------------------------


def sensors(seed: int) -> Batch:
    """Return two pictures of one scene, and a class of each pixel; some pixels are void."""
    draw = generator(seed + 900)
    kinds = torch.randint(KINDS, (SIZE, 16, 16), generator=draw)
    void = torch.rand(SIZE, 16, 16, generator=draw) < 0.2
    return {"optical": pixels(seed), "radar": pixels(seed + 50)[:, :1], "mask": kinds.masked_fill(void, VOID)}


def without_void(batch: Any) -> Tensor:
    return batch["mask"].masked_fill(batch["mask"] == VOID, -100)


class TwoPyramids(nn.Module):
    """A SegFormer for each sensor; their first stages, at a quarter of the resolution, add up and multiply."""

    def __init__(self, config):
        super().__init__()
        self.optical, self.radar = SegformerModel(config), SegformerModel(SegformerConfig(**PYRAMID, num_channels=1))
        self.out = nn.Conv2d(8, KINDS, 1)

    def forward(self, optical, radar):
        left = self.optical(optical, output_hidden_states=True).hidden_states[0]
        right = self.radar(radar, output_hidden_states=True).hidden_states[0]
        return self.out(left + right + left * right)


class Upsampled(HubModule):
    """Scores have a quarter of the labels' resolution, and the step enlarges them before the loss."""

    def common_step(self, batch):
        logits = self.model(batch["optical"], batch["radar"])
        logits = functional.interpolate(logits, size=batch["mask"].shape[-2:], mode="bilinear", align_corners=False)
        return functional.cross_entropy(logits, batch["mask"], ignore_index=VOID)


def enlarged(scores: Tensor) -> Tensor:
    """Return scores at four times the resolution, between whose centres they change linearly."""
    return functional.interpolate(scores, scale_factor=4, mode="bilinear")


class Stacked(HubModule):
    """One SegFormer gets both sensors as channels of one tensor; it enlarges its scores itself."""

    def common_step(self, batch):
        outputs = self.model(pixel_values=batch["pixel_values"], labels=batch["mask"])
        return outputs.loss


def stacked(seed: int) -> Batch:
    batch = sensors(seed)
    return {"pixel_values": torch.cat([batch["optical"], batch["radar"]], 1), "mask": batch["mask"]}


def stacked_scores(module: Any, batch: Any) -> Tensor:
    states = module.model.segformer(batch["pixel_values"], output_hidden_states=True).hidden_states
    return enlarged(module.model.decode_head(states))


def prompted(seed: int) -> Batch:
    """Return pictures, phrases, and which pixels a phrase is about."""
    inside = torch.rand(SIZE, 16, 16, generator=generator(seed + 950)) < 0.4
    return clip_inputs(seed) | {"labels": inside.float()}


def clip_seg() -> CLIPSegConfig:
    text = TEXT | {"bos_token_id": 1, "eos_token_id": END, "pad_token_id": 0}
    decoder = {"extract_layers": [0], "reduce_dim": 8, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 8}
    return CLIPSegConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH, **decoder)


def prompted_scores(module: Any, batch: Any) -> Tensor:
    """Return ``(B, 1, 16, 16)`` of the picture under the condition of the phrase."""
    net, words = module.model, {key: batch[key] for key in ("input_ids", "attention_mask")}
    phrase = net.clip.text_projection(net.clip.text_model(**words).pooler_output)
    with torch.no_grad():
        seen = net.clip.vision_model(batch["pixel_values"], output_hidden_states=True).hidden_states
    return net.decoder([seen[1]], phrase).logits.unsqueeze(1)


WORDS, PIXELS = "hub words", "hub pixels"

CASES = [
    Case(
        "LayoutLMv3, a tag for each word",
        WORDS,
        around(LabelsInside, LayoutLMv3ForTokenClassification, layout(TAGS)),
        batches_of(forms),
        BOXES_WITH_TEXT,
        layout_tags,
        leaf("labels"),
        "multiclass",
        by_position="labels",
    ),
    Case(
        "LiLT, a tag for each word",
        WORDS,
        around(
            LabelsInside,
            LiltForTokenClassification,
            LiltConfig(**LILT, num_labels=TAGS),
        ),
        batches_of(boxed_words),
        {"text": ["input_ids", "attention_mask"], "layout": "bbox"},
        lilt_tags,
        leaf("labels"),
        "multiclass",
        by_position="labels",
    ),
    Case(
        "BERT and ViT, a tag for each word",
        WORDS,
        around(OwnTagger, Tagger, BERT_AND_VIT),
        batches_of(seen_words),
        IMAGE_AND_TEXT,
        own_tags,
        leaf("labels"),
        "multiclass",
        by_position="labels",
    ),
    Case(
        "two SegFormers, enlarged in the step",
        PIXELS,
        around(Upsampled, TwoPyramids, SegformerConfig(**PYRAMID)),
        batches_of(sensors),
        {"optical": "optical", "radar": "radar"},
        lambda module, batch: enlarged(module.model(batch["optical"], batch["radar"])),
        without_void,
        "multiclass",
        by_position="mask",
    ),
    Case(
        "SegFormer, two sensors as channels",
        PIXELS,
        around(Stacked, SegformerForSemanticSegmentation, SegformerConfig(**PYRAMID, num_channels=4, num_labels=KINDS)),
        batches_of(stacked),
        {"optical": "pixel_values[:3]", "radar": "pixel_values[3:]"},
        stacked_scores,
        without_void,
        "multiclass",
        by_position="mask",
    ),
    Case(
        "CLIPSeg, a phrase's pixels",
        PIXELS,
        around(LabelsInside, CLIPSegForImageSegmentation, clip_seg()),
        batches_of(prompted),
        IMAGE_AND_TEXT,
        prompted_scores,
        leaf("labels"),
        "binary",
        by_position="labels",
    ),
]
