"""Models over words and detected regions: LXMERT and VisualBERT."""

from functools import partial
from typing import Any

import torch
from benchmarks.observation.case import Case
from benchmarks.observation.hub_base import (
    TEXT,
    VOCABULARY,
    WIDTH,
    Batch,
    HubModule,
    answers,
    around,
    batches_of,
    regions,
    sentences,
    soft_answers,
)
from benchmarks.observation.parts import SIZE, leaf
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy
from transformers import (
    BatchEncoding,
    LxmertConfig,
    LxmertForPreTraining,
    LxmertForQuestionAnswering,
    LxmertModel,
    VisualBertConfig,
    VisualBertForQuestionAnswering,
    VisualBertForVisualReasoning,
)

ANSWERS = 5
LXMERT = LxmertConfig(
    vocab_size=VOCABULARY, hidden_size=WIDTH, num_attention_heads=2, intermediate_size=WIDTH,
    max_position_embeddings=24, num_qa_labels=ANSWERS, l_layers=1, r_layers=1, x_layers=1, visual_feat_dim=6,
)  # fmt: skip
LXMERT_MODALITIES = {
    "image": ["visual_feats", "visual_pos"],
    "text": ["input_ids", "attention_mask", "token_type_ids"],
}
VISUAL_BERT_MODALITIES = {
    "image": ["visual_embeds", "visual_attention_mask", "visual_token_type_ids"],
    "text": ["input_ids", "attention_mask"],
}


def lxmert_inputs(seed: int) -> Batch:
    words = sentences(seed)
    boxes = regions(seed + 1, 4) / 2
    types = torch.zeros_like(words["input_ids"])
    return words | {"token_type_ids": types, "visual_feats": regions(seed), "visual_pos": boxes}


def lxmert_labelled(seed: int) -> Batch:
    return lxmert_inputs(seed) | {"labels": answers(seed, ANSWERS)}


def lxmert_pooled(model: LxmertModel, batch: Any) -> Tensor:
    """Return the pooled state, ``(B, 16)``, with no more than words, their mask, features and boxes."""
    seen = {"visual_feats": batch["visual_feats"], "visual_pos": batch["visual_pos"]}
    return model(batch["input_ids"], attention_mask=batch["attention_mask"], **seen).pooled_output


def lxmert_scores(module: Any, batch: Any) -> Tensor:
    return module.model.answer_head(lxmert_pooled(module.model.lxmert, batch))


class QuestionAnsweringScore(HubModule):
    """Labels go in; the loss and ``question_answering_score`` come out."""

    def common_step(self, batch):
        outputs = self.model(**batch)
        self.log("accuracy", (outputs.question_answering_score.argmax(-1) == batch["labels"]).float().mean())
        return outputs.loss


class TupleOfOutputs(HubModule):
    """A tuple comes out, the loss first."""

    def common_step(self, batch):
        loss, scores = self.model(**batch, return_dict=False)[:2]
        self.log("confidence", scores.softmax(-1).amax(-1).mean())
        return loss


class PooledOutputHead(HubModule):
    """A head of one's own over the pooled state, soft answers popped from the batch."""

    def __init__(self, model):
        super().__init__(model)
        self.answer_head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, ANSWERS))

    def forward(self, **inputs):
        return self.answer_head(self.model(**inputs).pooled_output)

    def common_step(self, batch):
        soft = batch.pop("soft_answers")
        return functional.binary_cross_entropy_with_logits(self(**batch), soft) * soft.shape[1]


class MatchAndAnswer(HubModule):
    """Two heads of one model with a label each; the answers are given to a metric too."""

    def __init__(self, model):
        super().__init__(model)
        self.accuracy = MulticlassAccuracy(ANSWERS, average="micro")

    def common_step(self, batch):
        outputs = self.model(**batch)
        self.accuracy(outputs.question_answering_score, batch["ans"])
        self.log("accuracy", self.accuracy)
        return outputs.loss


def visual_bert_inputs(seed: int) -> Batch:
    ones = torch.ones(SIZE, 3)
    seen = {"visual_embeds": regions(seed), "visual_attention_mask": ones, "visual_token_type_ids": ones.long()}
    return sentences(seed) | seen


def visual_bert_soft(seed: int) -> Batch:
    soft = soft_answers(seed, ANSWERS)
    return visual_bert_inputs(seed) | {"labels": soft / soft.sum(1, keepdim=True)}


def visual_bert_labelled(seed: int) -> Batch:
    return visual_bert_inputs(seed) | {"labels": answers(seed, 2)}


def visual_bert_states(module: Any, batch: Any) -> Any:
    """Return the states of all positions, words first, and the pooled state."""
    seen = {key: batch[key] for key in VISUAL_BERT_MODALITIES["image"]}
    return module.model.visual_bert(batch["input_ids"], attention_mask=batch["attention_mask"], **seen)


def last_word_scores(module: Any, batch: Any) -> Tensor:
    """Return the scores read off the last word but one of each question."""
    states = visual_bert_states(module, batch).last_hidden_state
    return module.model.cls(states[torch.arange(len(states)), batch["attention_mask"].sum(1) - 2])


def pooled_scores(module: Any, batch: Any) -> Tensor:
    return module.model.cls(visual_bert_states(module, batch).pooler_output)


class LossAlone(HubModule):
    """Nothing but the loss is looked at; the outputs called logits are log-probabilities where labels go in."""

    def common_step(self, batch):
        return self.model(**batch).loss


class SlicedOutputs(HubModule):
    """As in Lightning's tutorial on texts: ``forward(**inputs)``, then loss and logits by position."""

    def forward(self, **inputs):
        return self.model(**inputs)

    def common_step(self, batch):
        loss, logits = self(**batch)[:2]
        self.log("accuracy", (torch.argmax(logits, dim=1) == batch["labels"]).float().mean())
        return loss


def visual_bert(labels: int) -> VisualBertConfig:
    return VisualBertConfig(**TEXT, visual_embedding_dim=6, num_labels=labels)


lxmert = partial(Case, style="hub regions", modalities=LXMERT_MODALITIES, scores=lxmert_scores, task="multiclass")

CASES = [
    lxmert(
        "LXMERT, labels inside",
        module=around(QuestionAnsweringScore, LxmertForQuestionAnswering, LXMERT),
        batches=batches_of(lxmert_labelled),
        target=leaf("labels"),
    ),
    lxmert(
        "LXMERT, a tuple from BatchEncoding",
        module=around(TupleOfOutputs, LxmertForQuestionAnswering, LXMERT),
        batches=batches_of(lambda seed: BatchEncoding(lxmert_labelled(seed))),
        target=leaf("labels"),
    ),
    lxmert(
        "LXMERT, own head, soft answers",
        module=around(PooledOutputHead, LxmertModel, LXMERT),
        batches=batches_of(lambda seed: lxmert_inputs(seed) | {"soft_answers": soft_answers(seed, ANSWERS)}),
        scores=lambda module, batch: module.answer_head(lxmert_pooled(module.model, batch)),
        target=leaf("soft_answers"),
        task="multilabel",
    ),
    lxmert(
        "LXMERT, match and answer",
        module=around(MatchAndAnswer, LxmertForPreTraining, LXMERT),
        batches=batches_of(
            lambda seed: lxmert_inputs(seed) | {"matched_label": answers(seed + 3, 2), "ans": answers(seed, ANSWERS)}
        ),
        target=leaf("ans"),
        others=1,
    ),
    Case(
        "VisualBERT, KL divergence inside",
        "hub regions",
        around(LossAlone, VisualBertForQuestionAnswering, visual_bert(ANSWERS)),
        batches_of(visual_bert_soft),
        VISUAL_BERT_MODALITIES,
        last_word_scores,
        leaf("labels"),
        "multiclass",
    ),
    Case(
        "VisualBERT, loss and logits sliced",
        "hub regions",
        around(SlicedOutputs, VisualBertForVisualReasoning, visual_bert(2)),
        batches_of(visual_bert_labelled),
        VISUAL_BERT_MODALITIES,
        pooled_scores,
        leaf("labels"),
        "multiclass",
    ),
]
