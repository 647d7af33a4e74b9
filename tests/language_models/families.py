"""Tiny vision- and audio-language models with random weights, and their own processors, all made in code.

A question is words in which ``{}`` stands for a picture or a sound. Models, processors and tokenizers are made once a
module of tests.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers.models.clip.image_processing_pil_clip", reason="needs processors of transformers 5")

import transformers as tf
from language_models.tokens import VOCABULARY, tokenizer
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

IMAGE, AUDIO = "pixel_values", "input_features"

TEXT = {
    "vocab_size": len(VOCABULARY) + 8,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Sizes of every language model."""

VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
"""Sizes of vision towers that see squares of 8 x 8 pixels in patches of 4 x 4."""

ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}

Item = NDArray[Any]
"""A picture ``(H, W, 3)`` of bytes, or a sound ``(samples,)``."""


@dataclass(frozen=True)
class Question:
    """A question, and perhaps its answer.

    Attributes:
        words: The question with ``{}`` for each item.
        items: Its pictures or sounds.
        answer: Words of the answer.
    """

    words: str
    items: Sequence[Item]
    answer: str = ""


@dataclass(frozen=True)
class Family:
    """A kind of models.

    Attributes:
        name: Its name.
        placeholder: What the processor replaces in a text, with what it needs around it.
        model: Returns the model.
        processor: Padding side -> the processor.
        sizes: Heights and widths of pictures, or lengths of sounds, whose numbers of placeholders differ if they can.
        media: Path of the media.
        causal: Whether media see nothing of the text.
    """

    name: str
    placeholder: str
    model: Callable[[], nn.Module]
    processor: Callable[[str], Any]
    sizes: Sequence[Any] = ((8, 8), (8, 8), (8, 8), (8, 8))
    media: str = IMAGE
    causal: bool = True

    def batch(self, questions: Sequence[Question], side: str = "right") -> dict[str, Tensor]:
        """Return the processor's own batch of questions, with labels where they have answers."""
        texts = [one.words.format(*[self.placeholder] * len(one.items)) for one in questions]
        answers = [one.answer for one in questions]
        items = [list(one.items) for one in questions]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the processors themselves
            found = self._processed(self.own_processor(side), texts, answers, items)
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}

    def _processed(self, processor: Any, texts: list[str], answers: list[str], items: list[list[Item]]) -> Any:
        flat = [item for own in items for item in own]
        if self.media == AUDIO:
            given = {"audio": flat or None, "sampling_rate": 16000}
        else:
            given = {"images": items if flat else None}
        if self.name == "PaliGemma" and any(answers):
            return processor(text=texts, suffix=answers, padding=True, return_tensors="pt", **given)
        whole = [f"{text} {answer}".strip() for text, answer in zip(texts, answers, strict=True)]
        found = dict(processor(text=whole, padding=True, return_tensors="pt", **given))
        if any(answers):
            found["labels"] = _labels(processor, found, answers)
        return found

    @cache  # noqa: B019 - families are constants
    def own_processor(self, side: str) -> Any:
        """Return the processor that pads on this side."""
        return self.processor(side)

    @cache  # noqa: B019 - families are constants
    def own_model(self) -> nn.Module:
        """Return the model with its random weights, in evaluation mode."""
        torch.manual_seed(0)
        return self.model().eval()

    def item(self, number: int) -> Item:
        """Return a picture or a sound; those of different numbers differ, and mostly in size."""
        random, size = np.random.default_rng(number), self.sizes[number % len(self.sizes)]
        if self.media == AUDIO:
            return random.standard_normal(size).astype(np.float32)
        return random.integers(0, 256, (*size, 3), dtype=np.uint8)


def _labels(processor: Any, batch: dict[str, Tensor], answers: list[str]) -> Tensor:
    """Return ``(B, T)`` labels: -100 everywhere but at the answer, which is at the end of the row."""
    labels = torch.full_like(batch["input_ids"], -100)
    for row, answer in enumerate(answers):
        end = int(batch["attention_mask"][row].nonzero().max()) + 1
        start = end - len(processor.tokenizer(answer)["input_ids"]) if answer else end
        labels[row, start:end] = batch["input_ids"][row, start:end]
    return labels


def _clip(image_processor: Callable[..., Any], **further: Any) -> Any:
    crop = {"height": 8, "width": 8}
    return image_processor(size={"shortest_edge": 8}, crop_size=crop, do_convert_rgb=False, **further)


def _llava_processor(side: str) -> Any:
    images = _clip(CLIPImageProcessorPil)
    return tf.LlavaProcessor(images, tokenizer(side), 4, "default", num_additional_image_tokens=1)


def _llava() -> nn.Module:
    vision, text = tf.CLIPVisionConfig(**VISION), tf.LlamaConfig(**TEXT)
    given = {"image_token_id": VOCABULARY["<image>"], "vision_feature_layer": -1, "image_seq_length": 4}
    return tf.LlavaForConditionalGeneration(tf.LlavaConfig(vision_config=vision, text_config=text, **given))


PINPOINTS = [[8, 16], [16, 8], [16, 16]]


def _llava_next_processor(side: str) -> Any:
    images = _clip(LlavaNextImageProcessorPil, image_grid_pinpoints=PINPOINTS)
    return tf.LlavaNextProcessor(images, tokenizer(side), 4, "default", num_additional_image_tokens=1)


def _llava_next() -> nn.Module:
    vision, text = tf.CLIPVisionConfig(**VISION), tf.LlamaConfig(**TEXT)
    given = {"image_token_id": VOCABULARY["<image>"], "vision_feature_layer": -1, "image_seq_length": 4}
    return tf.LlavaNextForConditionalGeneration(
        tf.LlavaNextConfig(vision_config=vision, text_config=text, image_grid_pinpoints=PINPOINTS, **given)
    )


QWEN = {
    "image_token_id": VOCABULARY["<|image_pad|>"],
    "video_token_id": VOCABULARY["<|video_pad|>"],
    "vision_start_token_id": VOCABULARY["<|vision_start|>"],
    "vision_end_token_id": VOCABULARY["<|vision_end|>"],
}


class NoVideos:
    """Stands for a processor of videos, which needs torchvision."""

    model_input_names = ()


@cache
def without_videos(kind: type) -> type:
    """Return a kind of processors that takes :class:`NoVideos` for a processor of videos."""

    def check(self: Any, name: str, argument: Any) -> Any:
        return None if isinstance(argument, NoVideos) else kind.check_argument_for_proper_class(self, name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def _qwen_processor(kind: Any, patch: int) -> Callable[[str], Any]:
    def processor(side: str) -> Any:
        images = Qwen2VLImageProcessorPil(
            patch_size=patch, merge_size=2, temporal_patch_size=2, min_pixels=16, max_pixels=4096
        )
        return without_videos(kind)(images, tokenizer(side, image_token="<|image_pad|>"), NoVideos())

    return processor


def _qwen2_vl() -> nn.Module:
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 1, "patch_size": 4}
    text = TEXT | {"rope_parameters": ROPE}
    return tf.Qwen2VLForConditionalGeneration(tf.Qwen2VLConfig(text_config=text, vision_config=vision, **QWEN))


def _qwen2_5_vl() -> nn.Module:
    vision = {
        "depth": 2, "hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    text = TEXT | {"rope_parameters": ROPE}
    return tf.Qwen2_5_VLForConditionalGeneration(tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **QWEN))


def _qwen3_vl() -> nn.Module:
    vision = {
        "depth": 2, "hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = TEXT | {"head_dim": 8, "rope_parameters": ROPE}
    return tf.Qwen3VLForConditionalGeneration(tf.Qwen3VLConfig(text_config=text, vision_config=vision, **QWEN))


def _smolvlm_processor(side: str) -> Any:
    processing_smolvlm.num2words = processing_smolvlm.num2words or str  # of videos alone
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 16}, max_image_size={"longest_edge": 8}, do_convert_rgb=False
    )
    return without_videos(tf.SmolVLMProcessor)(images, tokenizer(side), NoVideos(), image_seq_len=4)


def _smolvlm() -> nn.Module:
    vision, text = {**VISION, "patch_size": 2}, {**TEXT, "model_type": "llama"}
    given = {"image_token_id": VOCABULARY["<image>"], "scale_factor": 2, "pad_token_id": 0}
    return tf.SmolVLMForConditionalGeneration(tf.SmolVLMConfig(vision_config=vision, text_config=text, **given))


def _paligemma_processor(side: str) -> Any:
    images = SiglipImageProcessorPil(size={"height": 8, "width": 8})
    images.image_seq_length = 4
    return tf.PaliGemmaProcessor(images, tokenizer(side, image_token="<image>"))


def _paligemma() -> nn.Module:
    vision = tf.SiglipVisionConfig(**VISION, vision_use_head=False)
    text = tf.GemmaConfig(**{**TEXT, "vocab_size": 2048}, head_dim=8)
    given = {"projection_dim": 16, "image_token_index": VOCABULARY["<image>"]}
    return tf.PaliGemmaForConditionalGeneration(tf.PaliGemmaConfig(vision_config=vision, text_config=text, **given))


def _internvl_processor(side: str) -> Any:
    images = GotOcr2ImageProcessorPil(size={"height": 8, "width": 8}, crop_to_patches=True, max_patches=4)
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    named |= {"video_token": "<|video_pad|>"}
    return without_videos(tf.InternVLProcessor)(images, tokenizer(side, **named), NoVideos(), image_seq_length=4)


def _internvl() -> nn.Module:
    vision = tf.InternVLVisionConfig(**{**VISION, "image_size": [8, 8], "patch_size": [2, 2]})
    text = tf.Qwen2Config(**TEXT)
    given = {"image_token_id": VOCABULARY["<IMG_CONTEXT>"], "image_seq_length": 4}
    return tf.InternVLForConditionalGeneration(tf.InternVLConfig(vision_config=vision, text_config=text, **given))


def _qwen2_audio_processor(side: str) -> Any:
    features = tf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    return tf.Qwen2AudioProcessor(features, tokenizer(side))


def _qwen2_audio() -> nn.Module:
    audio = tf.Qwen2AudioEncoderConfig(
        num_mel_bins=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=24, d_model=16,
        max_source_positions=50,
    )  # fmt: skip
    text = tf.Qwen2Config(**TEXT)
    given = {"audio_token_index": VOCABULARY["<|AUDIO|>"]}
    return tf.Qwen2AudioForConditionalGeneration(tf.Qwen2AudioConfig(audio_config=audio, text_config=text, **given))


GRIDS = ((8, 8), (8, 16), (16, 16), (24, 8))
"""Sizes of pictures that have different numbers of patches and tiles."""

QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"

FAMILIES = {
    family.name: family
    for family in (
        Family("LLaVA", "<image>", _llava, _llava_processor),
        Family("LLaVA-NeXT", "<image>", _llava_next, _llava_next_processor, GRIDS),
        Family("Qwen2-VL", QWEN_IMAGE, _qwen2_vl, _qwen_processor(tf.Qwen2VLProcessor, 4), GRIDS),
        Family("Qwen2.5-VL", QWEN_IMAGE, _qwen2_5_vl, _qwen_processor(tf.Qwen2_5_VLProcessor, 4), GRIDS),
        Family("Qwen3-VL", QWEN_IMAGE, _qwen3_vl, _qwen_processor(tf.Qwen3VLProcessor, 4), GRIDS),
        Family("SmolVLM", "<image>", _smolvlm, _smolvlm_processor, GRIDS),
        Family("PaliGemma", "<image>", _paligemma, _paligemma_processor, causal=False),
        Family("InternVL", "<IMG_CONTEXT>", _internvl, _internvl_processor, GRIDS),
        Family(
            "Qwen2-Audio",
            "<|audio_bos|><|AUDIO|><|audio_eos|>",
            _qwen2_audio,
            _qwen2_audio_processor,
            (4000, 9000, 16000, 6000),
            AUDIO,
        ),
    )
}
"""Name -> family."""
