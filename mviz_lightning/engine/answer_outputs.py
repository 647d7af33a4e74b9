"""What a language model says behind the prompt: logits of first tokens, and the likelihood of answers."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.answered import AnsweredTexts
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.engine.agreement import agree
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.language_model import LanguageModel, last_positions
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import NotMeasurableError

TRIED = 4
"""Number of rows that are evaluated with and without their answers."""

LEAKS = (
    "the logits in front of an answer change once the answer is dropped: the model sees the answer that it is asked "
    "for, and so it does in your own training. Give the leaf that tells prompt and answer apart (token_type_ids: 0 in "
    "the prompt, 1 in the answer)."
)


@dataclass(frozen=True)
class FirstTokens:
    """Logits of the first token of an answer, at the last position of the prompt.

    Attributes:
        language: The model.
        tokens: ``(K,)`` long: the tokens; None for the whole vocabulary.
    """

    language: LanguageModel
    tokens: Tensor | None = None

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return ``(B, K)`` of a batch of prompts."""
        positions, at = torch.unique(last_positions(self.language.own_tokens(batch)), return_inverse=True)
        logits = self.language.logits(batch, positions)
        found = logits[torch.arange(len(at), device=logits.device), at.to(logits.device)]
        return found if self.tokens is None else found[:, self.tokens.to(found.device)]


@dataclass(frozen=True)
class FirstOfAnswers:
    """Logits of the first token of each row's answer, of rows that hold their answers.

    Attributes:
        language: The model.
        finder: Finds the answers.
    """

    language: LanguageModel
    finder: AnswerFinder

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return ``(B, V)``."""
        first = self.language.own_tokens(batch).long().argmax(1)
        positions, at = torch.unique(first + self.finder.spans_in(batch)[:, 0] - 1, return_inverse=True)
        logits = self.language.logits(batch, positions)
        return logits[torch.arange(len(at), device=logits.device), at.to(logits.device)]


@dataclass(frozen=True)
class OwnAnswers:
    """Mean log-likelihood of a token of each row's own answer, which travels with the text.

    Attributes:
        language: The model.
        finder: Finds the answers.
    """

    language: LanguageModel
    finder: AnswerFinder

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return ``(B, 1)`` of a batch of rows with answers; NaN of a row without one."""
        first = self.language.own_tokens(batch).long().argmax(1, keepdim=True)
        spans = self.finder.spans_in(batch) + first
        lengths = spans[:, 1] - spans[:, 0]
        rows = torch.arange(len(spans)).repeat_interleave(lengths)
        places = torch.cat([torch.arange(*span) for span in spans.tolist()])
        found = self._log_likelihoods(batch, rows, places)
        rows, lengths = rows.to(found.device), lengths.to(found.device)
        return (found.new_zeros(len(spans)).index_add(0, rows, found) / lengths).unsqueeze(1)

    def _log_likelihoods(self, batch: Any, rows: Tensor, places: Tensor) -> Tensor:
        """Return ``(K,)`` float32: the log-likelihood of the tokens at some places of some rows."""
        positions, at = torch.unique(places - 1, return_inverse=True)
        logits = self.language.logits(batch, positions)
        tokens = tree.get(batch, self.finder.ids).to(logits.device)[rows.to(logits.device), places.to(logits.device)]
        chosen = logits[rows.to(logits.device), at.to(logits.device)].float()
        return chosen.log_softmax(-1).gather(1, tokens.unsqueeze(1))[:, 0]


def check_dropped_answers(evaluator: Evaluator, language: LanguageModel, texts: AnsweredTexts) -> None:
    """Check that dropping the answers leaves the logits before them.

    Args:
        evaluator: Runs the model on rows without answers.
        language: The model.
        texts: Some examples.

    Raises:
        NotMeasurableError: They differ.
    """
    rows = torch.arange(min(TRIED, texts.probe.size))
    query = Query.aligned(rows, len(texts.probe.schema.names))
    whole = replace(evaluator, predict=FirstOfAnswers(language, texts.finder))
    dropped = replace(evaluator, predict=FirstTokens(language)).plain(texts.prompted, query)
    if not agree(whole.plain(texts.answered, query), dropped):
        raise NotMeasurableError(LEAKS)
