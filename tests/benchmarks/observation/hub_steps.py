"""What steps around models of transformers do besides: tokenise, freeze, keep predictions, nest and draw."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    IMAGE_AND_TEXT,
    WIDTH,
    HubModule,
    answers,
    around,
    batches_of,
    soft_answers,
)
from benchmarks.observation.hub_clip import CLIP, END, SHARED, clip_image, clip_inputs, clip_text, joined
from benchmarks.observation.hub_vilt import (
    ANSWERS,
    MODALITIES,
    LossOfOutputs,
    answer_scores,
    config,
    inputs,
)
from benchmarks.observation.parts import SIZE, leaf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from torch.nn import functional
from transformers import BatchEncoding, CLIPModel, PreTrainedTokenizerFast, ViltForQuestionAnswering, ViltModel

KINDS = 3
PAD = "[PAD]"


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words w3 to w39, the last of which ends a text."""
    words = {PAD: 0} | {f"w{number}": number for number in range(1, END + 1)}
    made = Tokenizer(WordLevel(words, unk_token=PAD))
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=PAD)


def written(seed: int) -> dict[str, Any]:
    """Return images and texts as strings."""
    batch = clip_inputs(seed)
    lengths = batch["attention_mask"].sum(1).tolist()
    texts = [
        " ".join(f"w{token}" for token in row[:length])
        for row, length in zip(batch["input_ids"].tolist(), lengths, strict=True)
    ]
    return {"image": batch["pixel_values"], "text": texts, "label": answers(seed, KINDS)}


class Head(HubModule):
    """CLIP's features, joined, and a linear head."""

    def __init__(self, model):
        super().__init__(model)
        self.head = nn.Linear(3 * SHARED, KINDS)

    def scores(self, image, words):
        found = self.model(pixel_values=image, **words)
        return self.head(joined(found.image_embeds, found.text_embeds))


class TokenisedInTheStep(Head):
    """The step makes ids of the texts, padded to the longest of the batch."""

    def __init__(self, model):
        super().__init__(model)
        self.tokenizer = tokenizer()

    def common_step(self, batch):
        words = self.tokenizer(list(batch["text"]), padding=True, return_tensors="pt", return_token_type_ids=False)
        return functional.cross_entropy(self.scores(batch["image"], words.to(self.device)), batch["label"])


class TokenisedInForward(TokenisedInTheStep):
    """The same in ``forward(image, text)``."""

    def forward(self, image, text):
        words = self.tokenizer(list(text), padding=True, return_tensors="pt", return_token_type_ids=False)
        return self.scores(image, words.to(self.device))

    def common_step(self, batch):
        return functional.cross_entropy(self(batch["image"], batch["text"]), batch["label"])


def written_scores(module: Any, batch: Any) -> Tensor:
    words = [[int(word[1:]) for word in text.split()] for text in batch["text"]]
    longest = max(map(len, words))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in words])
    known = {"pixel_values": batch["image"], "input_ids": ids, "attention_mask": (ids > 0).long()}
    return clip_head_scores(module, known)


def clip_head_scores(module: Any, batch: Any) -> Tensor:
    return module.head(joined(clip_image(module.model, batch), clip_text(module.model, batch)))


class Frozen(Head):
    """CLIP does not learn: its features come without gradients, the head's loss is a module."""

    def __init__(self, model):
        super().__init__(model.requires_grad_(False))
        self.criterion = nn.CrossEntropyLoss()

    def encode(self, pixel_values, input_ids, attention_mask):
        with torch.no_grad():
            image = self.model.get_image_features(pixel_values)[1]
            text = self.model.get_text_features(input_ids, attention_mask)[1]
        return joined(image, text)

    def common_step(self, batch):
        inputs, labels = batch
        return self.criterion(self.head(self.encode(**inputs)), labels)


class KeptForTheEnd(Head):
    """Validation keeps predictions and labels as numbers, and compares them at the end of the epoch."""

    def __init__(self, model):
        super().__init__(model)
        self.kept = []

    def common_step(self, batch):
        return functional.cross_entropy(self.scored(batch), batch["label"])

    def scored(self, batch):
        return self.scores(batch["pixel_values"], {key: batch[key] for key in ("input_ids", "attention_mask")})

    def validation_step(self, batch, batch_idx):
        predictions = self.scored(batch).argmax(-1).cpu().numpy()
        self.kept.extend(zip(predictions.tolist(), batch["label"].tolist(), strict=True))

    def on_validation_epoch_end(self):
        self.log("accuracy", sum(said == true for said, true in self.kept) / len(self.kept))
        self.kept.clear()


class Nested(HubModule):
    """The processor's output is an entry of the batch; hidden states are pooled over the words."""

    def __init__(self, model):
        super().__init__(model)
        self.head = nn.Linear(WIDTH, ANSWERS)

    def common_step(self, batch):
        mask = batch["inputs"]["attention_mask"].unsqueeze(-1)
        states = self.model(**batch["inputs"], return_dict=False)[0][:, : mask.shape[1]]
        logits = self.head((states * mask).sum(1) / mask.sum(1))
        return functional.binary_cross_entropy_with_logits(logits, batch["soft"], reduction="sum") / SIZE


def mean_scores(module: Any, batch: Any) -> Tensor:
    known = batch["inputs"]
    states = module.model(**known).last_hidden_state
    rows = [
        module.head(row[: int(mask.sum())].mean(0)) for row, mask in zip(states, known["attention_mask"], strict=True)
    ]
    return torch.stack(rows)


def of_patches(module: Any, batch: Any, drawn: Sequence[int] = (0, 1)) -> Tensor:
    """Return the scores of the words and some of the four patches."""
    vilt, kept = module.model.vilt, list(drawn)
    embeddings, mask = vilt.embeddings, batch["attention_mask"]
    text_kind, image_kind = embeddings.token_type_embeddings.weight[:2]
    patches = embeddings.patch_embeddings(batch["pixel_values"]).flatten(2).transpose(1, 2)
    patches = torch.cat([embeddings.cls_token.expand(len(mask), -1, -1), patches], 1) + embeddings.position_embeddings
    words = embeddings.text_embeddings(batch["input_ids"]) + text_kind
    seen = torch.cat([words, patches[:, [0, *(1 + place for place in kept)]] + image_kind], 1)
    known = torch.cat([mask, mask.new_ones(len(mask), 1 + len(kept))], 1)
    unseen = (1 - known[:, None, None].float()) * torch.finfo(seen.dtype).min
    states = vilt.encoder(seen, unseen).last_hidden_state
    return module.model.classifier(vilt.pooler(vilt.layernorm(states)))


def with_its_patches(module: Any, batch: Any, outputs: Tensor) -> Tensor:
    """Return the scores of those two patches that all rows of the outputs have."""
    found = [of_patches(module, batch, drawn) for drawn in combinations(range(4), 2)]
    return min(found, key=lambda scores: float((scores - outputs).abs().max()))


def nested(seed: int) -> dict[str, Any]:
    return {"inputs": BatchEncoding(inputs(seed)), "soft": soft_answers(seed, ANSWERS)}


def encoded(seed: int) -> tuple[Any, Tensor]:
    return clip_inputs(seed), answers(seed, KINDS)


STRINGS = {"image": "image", "text": "text"}
STYLE = "hub steps"

CASES = [
    Case(
        "CLIP, texts tokenised in the step",
        STYLE,
        around(TokenisedInTheStep, CLIPModel, CLIP),
        batches_of(written),
        STRINGS,
        written_scores,
        leaf("label"),
        "multiclass",
    ),
    Case(
        "CLIP, texts tokenised in forward",
        STYLE,
        around(TokenisedInForward, CLIPModel, CLIP),
        batches_of(written),
        STRINGS,
        written_scores,
        leaf("label"),
        "multiclass",
    ),
    Case(
        "CLIP frozen, (inputs, labels)",
        STYLE,
        around(Frozen, CLIPModel, CLIP),
        batches_of(encoded),
        {"image": "0.pixel_values", "text": ["0.input_ids", "0.attention_mask"]},
        lambda module, batch: clip_head_scores(module, batch[0]),
        leaf(1),
        "multiclass",
    ),
    Case(
        "CLIP, predictions kept for the end",
        STYLE,
        around(KeptForTheEnd, CLIPModel, CLIP),
        batches_of(lambda seed: clip_inputs(seed) | {"label": answers(seed, KINDS)}),
        IMAGE_AND_TEXT,
        clip_head_scores,
        leaf("label"),
        "multiclass",
        expect="ask",
    ),
    Case(
        "ViLT, inputs nested, words pooled",
        STYLE,
        around(Nested, ViltModel, config(ANSWERS)),
        batches_of(nested),
        {
            name: [f"inputs.{key}" for key in ([keys] if isinstance(keys, str) else keys)]
            for name, keys in MODALITIES.items()
        },
        mean_scores,
        leaf("soft"),
        "multilabel",
    ),
    Case(
        "ViLT in bf16",
        STYLE,
        around(LossOfOutputs, ViltForQuestionAnswering, config(ANSWERS)),
        batches_of(lambda seed: inputs(seed) | {"labels": soft_answers(seed, ANSWERS)}),
        MODALITIES,
        answer_scores,
        leaf("labels"),
        "multilabel",
        trainer={"precision": "bf16-mixed"},
        tolerance=2e-2,
    ),
    Case(
        "ViLT, two of four patches drawn",
        STYLE,
        around(LossOfOutputs, ViltForQuestionAnswering, config(ANSWERS, max_image_length=2)),
        batches_of(lambda seed: inputs(seed) | {"labels": soft_answers(seed, ANSWERS)}),
        MODALITIES,
        of_patches,
        leaf("labels"),
        "multilabel",
        drawn=with_its_patches,
    ),
]
