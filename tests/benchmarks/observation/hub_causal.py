"""Causal models in whose token ids pieces of the image have their places: LLaVA, PaliGemma, SmolVLM.

A text gets the places of another example's image with it (tests/language_models checks these rows), and a loss over
tokens has the scores of its answers: the logits of their first words behind the prompt.
"""

from functools import partial
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    IMAGE_AND_TEXT,
    LAYER,
    PLACEHOLDER,
    VISION,
    VOCABULARY,
    WIDTH,
    Batch,
    HubModule,
    answers,
    around,
    batches_of,
    pixels,
    sentences,
)
from benchmarks.observation.parts import SIZE, generator, leaf
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.text import EditDistance
from transformers import (
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMVisionConfig,
)

KINDS, BEGIN, ANSWER, ANSWERS = 3, 1, 3, 5
WORDS = LAYER | {"vocab_size": VOCABULARY, "max_position_embeddings": 48, "pad_token_id": 0}
LLAVA = LlavaConfig(
    vision_config=CLIPVisionConfig(**VISION, projection_dim=WIDTH),
    text_config=LlamaConfig(**WORDS),
    image_token_index=PLACEHOLDER,
    vision_feature_layer=-1,
)
PALIGEMMA = PaliGemmaConfig(
    vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
    text_config=GemmaConfig(**WORDS, num_key_value_heads=1, head_dim=8),
    image_token_index=PLACEHOLDER,
    vocab_size=VOCABULARY,
    projection_dim=WIDTH,
    hidden_size=WIDTH,
)
SMOLVLM = SmolVLMConfig(
    vision_config=SmolVLMVisionConfig(**VISION),
    text_config=LlamaConfig(**WORDS),
    image_token_id=PLACEHOLDER,
    scale_factor=2,
)


def placed(seed: int, pieces: Tensor | int) -> Batch:
    """Return sentences behind a 1 and the places of their images, padded on the left.

    Args:
        seed: Of the sentences.
        pieces: ``(B, 1)`` or one number of places.
    """
    words = sentences(seed)
    ids, mask = words["input_ids"], words["attention_mask"]
    pieces = torch.as_tensor(pieces).expand(SIZE, 1)
    longest = int((1 + pieces + mask.sum(1, keepdim=True)).max())
    rows = [
        torch.cat([torch.tensor([BEGIN]), torch.full((int(count),), PLACEHOLDER), row[seen.bool()]])
        for count, row, seen in zip(pieces, ids, mask, strict=True)
    ]
    padded = torch.stack([functional.pad(row, (longest - len(row), 0)) for row in rows])
    return {"input_ids": padded, "attention_mask": (padded > 0).long()}


def first_words(batch: Batch) -> Tensor:
    """Return ``(B,)`` which of five answers fits: the first word behind the image tells."""
    ids = batch["input_ids"]
    behind = ids.shape[1] - (ids.flip(1) == PLACEHOLDER).int().argmax(1)
    return ids[torch.arange(len(ids)), behind] % ANSWERS


def with_answers(batch: Batch) -> Batch:
    """Return a batch with an answer of two words behind every sentence, which alone is learned."""
    first = ANSWER + first_words(batch).unsqueeze(1)
    ids = torch.cat([batch["input_ids"], first, first + 1], 1)
    mask = functional.pad(batch["attention_mask"], (0, 2), value=1)
    labels = ids.clone()
    labels[:, :-2] = -100
    return batch | {"input_ids": ids, "attention_mask": mask, "labels": labels}


def llava_inputs(seed: int) -> Batch:
    return placed(seed, 4) | {"pixel_values": pixels(seed)}


def paligemma_batch(seed: int) -> tuple[Tensor, ...]:
    """Return ids, token types, mask, pixels, labels, as the collate function of public notebooks does."""
    batch = with_answers(llava_inputs(seed))
    types = (batch["labels"] >= 0).long()
    return batch["input_ids"], types, batch["attention_mask"], batch["pixel_values"], batch["labels"]


def smolvlm_inputs(seed: int) -> Batch:
    """Return images of one or two tiles: their texts have as many places; a tile that is missing is 0."""
    tiles = torch.randint(1, 3, (SIZE, 1), generator=generator(seed + 900))
    there = torch.arange(2) < tiles
    image = pixels(seed, 2) * there[:, :, None, None, None]
    return placed(seed, tiles) | {
        "pixel_values": image,
        "pixel_attention_mask": there[:, :, None, None].expand(SIZE, 2, 16, 16).clone(),
    }


class TokenLoss(HubModule):
    """Labels of -100 but for the answer; the loss over tokens is inside."""

    def common_step(self, batch):
        outputs = self.model(**batch)
        return outputs.loss


class BatchOfFive(HubModule):
    """The step of public notebooks on PaliGemma: a tuple, all arguments by name."""

    def common_step(self, batch):
        input_ids, token_type_ids, attention_mask, pixel_values, labels = batch
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            pixel_values=pixel_values,
            labels=labels,
        )
        return outputs.loss


def spoken(ids: Tensor) -> list[str]:
    """Return the last two tokens of each row as a string."""
    return ["".join(chr(60 + token) for token in row) for row in ids[:, -2:].tolist()]


class WrittenAnswers(TokenLoss):
    """Validation writes answers word by word and compares them as strings; there is no loss."""

    def __init__(self, model):
        super().__init__(model)
        self.distance = EditDistance()

    def validation_step(self, batch, batch_idx):
        prompt = {key: batch[key][:, :-2] for key in ("input_ids", "attention_mask")}
        written = self.model.generate(
            **prompt, pixel_values=batch["pixel_values"], max_new_tokens=2, do_sample=False, pad_token_id=0
        )
        spoken, wanted = (
            ["".join(map(chr, 60 + row)) for row in ids[:, -2:].numpy()] for ids in (written, batch["labels"])
        )
        self.distance(spoken, wanted)
        self.log("distance", self.distance, batch_size=SIZE)


class LastTokenHead(HubModule):
    """A head over the state of the last token."""

    def __init__(self, model):
        super().__init__(model)
        self.score = nn.Linear(WIDTH, KINDS, bias=False)

    def common_step(self, batch):
        known = {key: value for key, value in batch.items() if key != "label"}
        states = self.model.model(**known).last_hidden_state
        return functional.cross_entropy(self.score(states[:, -1]), batch["label"])


def llava_scores(module: Any, batch: Any) -> Tensor:
    """Return the scores of the language model's last state, with the image's pieces put in their places."""
    llava, ids = module.model.model, batch["input_ids"]
    states = llava.vision_tower(batch["pixel_values"], output_hidden_states=True).hidden_states[-1][:, 1:]
    embedded = llava.language_model.embed_tokens(ids).clone()
    embedded[ids == PLACEHOLDER] = llava.multi_modal_projector(states).flatten(0, 1)
    mask = batch["attention_mask"]
    return module.score(llava.language_model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state[:, -1])


def answer_scores(module: Any, batch: Any) -> Tensor:
    """Return the logits of the first words of the five answers, behind each prompt."""
    ids = batch["input_ids"]
    prompt = slice(0, ids.shape[1] - 2 * bool((batch["labels"][:, -1] >= 0).all()))
    known = {key: batch[key] for key in batch if key != "labels"}
    known |= {key: batch[key][:, prompt] for key in ("input_ids", "attention_mask")}
    return module.model(**known).logits[:, -1, ANSWER : ANSWER + ANSWERS]


def smolvlm_scores(module: Any, batch: Any) -> Tensor:
    """Return the scores of the last state."""
    known = {key: batch[key] for key in batch if key != "label"}
    return module.score(module.model.model(**known).last_hidden_state[:, -1])


causal = partial(Case, style="hub causal", modalities=IMAGE_AND_TEXT)
tokens = partial(causal, scores=answer_scores, target=first_words, task="multiclass")
classified = partial(causal, target=leaf("label"), task="multiclass")
TILES = IMAGE_AND_TEXT | {"image": ["pixel_values", "pixel_attention_mask"]}

CASES = [
    tokens(
        "LLaVA, loss over the answer",
        module=around(TokenLoss, LlavaForConditionalGeneration, LLAVA),
        batches=batches_of(lambda seed: with_answers(llava_inputs(seed))),
    ),
    tokens(
        "LLaVA, validation writes answers",
        module=around(WrittenAnswers, LlavaForConditionalGeneration, LLAVA),
        batches=batches_of(lambda seed: with_answers(llava_inputs(seed))),
    ),
    classified(
        "LLaVA, head over the last token",
        module=around(LastTokenHead, LlavaForConditionalGeneration, LLAVA),
        batches=batches_of(lambda seed: llava_inputs(seed) | {"label": answers(seed, KINDS)}),
        scores=llava_scores,
    ),
    # The leaves of a tuple have no names, so that nothing tells which arguments of the model they are.
    causal(
        "PaliGemma, a batch of five",
        module=around(BatchOfFive, PaliGemmaForConditionalGeneration, PALIGEMMA),
        batches=batches_of(paligemma_batch),
        modalities={"image": "3", "text": ["0", "1", "2"]},
        scores=None,
        target=None,
        task=None,
        expect="ask",
    ),
    tokens(
        "SmolVLM, loss over the answer",
        module=around(TokenLoss, SmolVLMForConditionalGeneration, SMOLVLM),
        batches=batches_of(lambda seed: with_answers(smolvlm_inputs(seed))),
        modalities=TILES,
    ),
    classified(
        "SmolVLM, images of one or two tiles",
        module=around(LastTokenHead, SmolVLMForConditionalGeneration, SMOLVLM),
        batches=batches_of(lambda seed: smolvlm_inputs(seed) | {"label": answers(seed, KINDS)}),
        modalities=TILES,
        scores=smolvlm_scores,
    ),
]
