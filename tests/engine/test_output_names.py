"""The names by which models return their scores, those of transformers first."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from helpers.batches import OnBatch, clip_model, floats, integers, lxmert, pair_batch, seeded, token_leaves
from helpers.calls import chosen, outputs_of, pasted, refusal
from torch import Tensor, nn
from transformers import (
    BlipConfig,
    BlipForImageTextRetrieval,
    BridgeTowerConfig,
    BridgeTowerForContrastiveLearning,
    LayoutLMv3Config,
    LayoutLMv3ForQuestionAnswering,
    LayoutLMv3ForSequenceClassification,
    LxmertConfig,
    LxmertForPreTraining,
    SiglipConfig,
    SiglipModel,
    VisualBertConfig,
    VisualBertForPreTraining,
    VisualBertModel,
)
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from mviz_lightning import explain
from mviz_lightning.engine.model_outputs import scores

COUNT = 6
TOKENS = token_leaves(COUNT)
PIXELS = {"pixel_values": floats(COUNT, 3, 16, 16)}
BOTH = TOKENS | PIXELS
MODALITIES = {"text": ["input_ids", "attention_mask"], "image": "pixel_values"}
LAYERS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = LAYERS | {"vocab_size": 20, "max_position_embeddings": 16}
PICTURE = LAYERS | {"image_size": 16, "patch_size": 8}


def siglip() -> nn.Module:
    special = {"projection_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return SiglipModel(SiglipConfig(text_config=WORDS | special, vision_config=PICTURE))


def blip() -> nn.Module:
    special = {"encoder_hidden_size": 16, "bos_token_id": 0, "eos_token_id": 19, "sep_token_id": 19, "pad_token_id": 0}
    config = BlipConfig(text_config=WORDS | special, vision_config=PICTURE, image_text_hidden_size=8)
    return BlipForImageTextRetrieval(config)


def bridge_tower() -> nn.Module:
    vision = {"hidden_size": 64, "num_hidden_layers": 3, "patch_size": 8, "image_size": 16}
    text = WORDS | {"hidden_size": 64}
    config = BridgeTowerConfig(
        **LAYERS | {"hidden_size": 64},
        contrastive_hidden_size=8,
        logit_scale_init_value=2.6,
        text_config=text,
        vision_config=vision,
    )
    return BridgeTowerForContrastiveLearning(config)


def layout(kind: type[nn.Module]) -> nn.Module:
    sizes = {"coordinate_size": 2, "shape_size": 4, "max_2d_position_embeddings": 32, "input_size": 16, "patch_size": 8}
    return kind(LayoutLMv3Config(**WORDS, **sizes, num_labels=2))


def visual_bert(kind: type[nn.Module]) -> nn.Module:
    return kind(VisualBertConfig(**WORDS, visual_embedding_dim=6, num_labels=3))


REGIONS = TOKENS | {"visual_embeds": floats(COUNT, 4, 6), "visual_attention_mask": torch.ones(COUNT, 4)}
REGION_MODALITIES = {"text": MODALITIES["text"], "image": ["visual_embeds", "visual_attention_mask"]}
PAGES = BOTH | {"bbox": integers(16, COUNT, COUNT, 4)}
PAGE_MODALITIES = {"text": ["input_ids", "attention_mask", "bbox"], "image": "pixel_values"}


def lxmert_pretraining() -> nn.Module:
    return LxmertForPreTraining(LxmertConfig(**lxmert().module.config.to_dict()))


FOUND = {
    "LXMERT": (lambda: lxmert(COUNT).module, lxmert(COUNT).batch, lxmert().modalities, "question_answering_score"),
    "LXMERT, three heads": (lxmert_pretraining, lxmert(COUNT).batch, lxmert().modalities, "question_answering_score"),
    "CLIP": (clip_model, BOTH, MODALITIES, "logits_per_image"),
    "SigLIP": (siglip, BOTH, MODALITIES, "logits_per_image"),
    "BLIP retrieval": (blip, BOTH, MODALITIES, "itm_score"),
    "VisualBERT, two heads": (
        lambda: visual_bert(VisualBertForPreTraining),
        REGIONS,
        REGION_MODALITIES,
        "seq_relationship_logits",
    ),
    "LayoutLMv3": (lambda: layout(LayoutLMv3ForSequenceClassification), PAGES, PAGE_MODALITIES, "logits"),
}


@pytest.mark.parametrize(("make", "batch", "modalities", "name"), FOUND.values(), ids=FOUND.keys())
def test_scores_of_transformers_are_found_by_their_names(
    make: Callable[[], nn.Module], batch: Any, modalities: Any, name: str
) -> None:
    module = seeded(make).eval()
    assert torch.equal(outputs_of(module, batch, modalities), module(**batch)[name])


@pytest.mark.slow
def test_clip_is_measured_without_a_line_whichever_modality_is_declared_first() -> None:
    module, count = seeded(clip_model), 64
    batch = {**token_leaves(count), "pixel_values": floats(count, 3, 16, 16)}
    settings: dict[str, Any] = {"num_examples": 32, "group_size": 16, "task": "regression"}
    found = [
        explain(module, [batch], modalities=dict(order), predict=predict, **settings)
        for order in (list(MODALITIES.items()), list(MODALITIES.items())[::-1])
        for predict in (None, lambda model, given: model(**given).logits_per_image.diagonal()[:, None])
    ]
    for report in found:
        assert report.values["interaction"] > 0
        shared = {key: value for key, value in report.values.items() if key in found[1].values}  # all but retrieval
        assert shared == pytest.approx(found[1].values, rel=1e-3, abs=1e-5)


def test_heads_of_which_none_comes_first_are_asked_for() -> None:
    module = seeded(lambda: layout(LayoutLMv3ForQuestionAnswering)).eval()
    message = refusal(module, PAGES, PAGE_MODALITIES)
    assert (
        '["start_logits"] and ["end_logits"] are heads of their own. Only one head can be explained at a time'
        in message
    )
    assert torch.equal(pasted(message)(module, PAGES), module(**PAGES).start_logits)
    both = QuestionAnsweringModelOutput(start_logits=floats(5, 7), end_logits=floats(5, 7))
    with pytest.raises(Exception, match="are heads of their own. Pass predict="):
        scores(both)


def test_embeddings_stacked_under_the_name_of_logits_are_no_scores() -> None:
    module = seeded(bridge_tower).eval()
    message = refusal(module, BOTH, MODALITIES)
    outputs = module(**BOTH)
    assert torch.equal(pasted(message)(module, BOTH), outputs.text_embeds @ outputs.image_embeds.T)


def test_features_alone_are_proposed_and_never_taken() -> None:
    module = seeded(lambda: visual_bert(VisualBertModel)).eval()
    message = refusal(module, REGIONS, REGION_MODALITIES)
    assert torch.equal(pasted(message)(module, REGIONS), module(**REGIONS).pooler_output)


def test_features_are_proposed_behind_everything_else() -> None:
    module = OnBatch(lambda _, batch: {"pooler_output": batch["image"], "answer": batch["text"] * 2})
    message = refusal(module, pair_batch(5))
    assert torch.equal(pasted(message)(module, pair_batch(5)), pair_batch(5)["text"] * 2)


class Named(NamedTuple):
    loss: Tensor
    itm_score: Tensor


SCORES = floats(5, 3)


@pytest.mark.parametrize(
    ("outputs", "place"),
    [
        ({"pooler_output": floats(5, 3), "question_answering_score": SCORES}, '["question_answering_score"]'),
        ({"prediction_logits": floats(5, 7, 9), "cross_relationship_score": SCORES}, '["cross_relationship_score"]'),
        ({"logits": None, "itm_score": SCORES}, '["itm_score"]'),
        (Named(SCORES.mean(), SCORES), ".itm_score"),
        (SimpleNamespace(last_hidden_state=floats(5, 7, 9), logits_per_audio=SCORES), ".logits_per_audio"),
        ((SimpleNamespace(logits_per_text=SCORES), floats(5, 9)), "[0].logits_per_text"),
    ],
)
def test_a_name_counts_in_every_container(outputs: Any, place: str) -> None:
    call = chosen(OnBatch(lambda _, __: outputs), pair_batch(5))
    assert call.outputs.taken == place
    assert torch.equal(scores(outputs), SCORES)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"logits": floats(5, 7, 3)}, floats(5, 7, 3)[:, -1]),
        (floats(5, 3, 4, 4), floats(5, 3, 4, 4).mean((2, 3))),
        ({"mlm_logits": floats(5, 7, 3)}, floats(5, 7, 3)[:, -1]),
    ],
)
def test_scores_at_every_position_are_refused_with_a_position_to_paste(outputs: Any, expected: Tensor) -> None:
    module = OnBatch(lambda _, __: outputs)
    message = refusal(module, pair_batch(5))
    assert message.startswith("the model returned scores of shape (5, ")
    assert message.count("predict=") == 1
    torch.testing.assert_close(pasted(message)(module, pair_batch(5)), expected)
