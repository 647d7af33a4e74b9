"""A tokenizer made in code: a token a word, and the special tokens of all families of language models."""

import pytest

pytest.importorskip("transformers")

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = ["what", "is", "the", "colour", "of", "this", "how", "many", "red", "green", "blue", "two", "three", "answer"]
"""The words of questions and answers."""

SPECIAL = [
    "<pad>", "<s>", "</s>", "<unk>", "<image>",
    "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
    "<fake_token_around_image>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)),
    "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>",
    "<img>", "</img>", "<IMG_CONTEXT>",
]  # fmt: skip
"""The special tokens; that of padding has the id 0."""

VOCABULARY = {token: number for number, token in enumerate([*SPECIAL, "\n", ":", *WORDS])}


def tokenizer(side: str = "right", **named: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer.

    Args:
        side: Where it pads: ``"right"`` or ``"left"``.
        named: Tokens that processors read as attributes, ``image_token="<|image_pad|>"`` for example.
    """
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(" +"), "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    words.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side=side,
        extra_special_tokens=named,
        model_max_length=4096,
    )
