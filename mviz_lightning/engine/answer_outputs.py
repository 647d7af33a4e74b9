"""What a language model says behind the prompt: logits of first tokens, and the likelihood of answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.answered import AnsweredTexts
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.batch.node_reader import NodeReader
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
        return mean_log_likelihoods(self.language, batch, self.finder.ids, self.finder.spans_in(batch) + first)


@dataclass(frozen=True)
class WholeAnswers:
    """Mean log-likelihoods of a token of some answers behind each row's prompt, a forward for each answer.

    Attributes:
        language: The model.
        finder: Finds the answers.
        answers: The tokens of A answers.
        beside: Path of each leaf by token that the model takes -> what it holds at the tokens of answers; of the ids
            anything.
    """

    language: LanguageModel
    finder: AnswerFinder
    answers: tuple[tuple[int, ...], ...]
    beside: Mapping[str, float]

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return ``(B, A)`` of a batch of prompts."""
        return torch.cat([self._likelihoods(batch, answer) for answer in self.answers], 1)

    def _likelihoods(self, batch: Any, answer: tuple[int, ...]) -> Tensor:
        whole = self._answered(batch, answer)
        stops = last_positions(self.language.own_tokens(whole)) + 1
        return mean_log_likelihoods(self.language, whole, self.finder.ids, torch.stack([stops - len(answer), stops], 1))

    def _answered(self, batch: Any, answer: tuple[int, ...]) -> Any:
        """Return a batch of prompts with an answer behind each."""
        behind = {path: [value] * len(answer) for path, value in self.beside.items()}
        behind[self.finder.found.ids] = list(answer)
        readers = [reader for reader in self.language.schema.readers if reader.places.keys() & behind.keys()]
        return tree.replace(batch, {reader.keys: _longer(reader, batch, behind) for reader in readers})


def _longer(reader: NodeReader, batch: Any, behind: Mapping[str, Sequence[float]]) -> Any:
    """Return a node with an entry for each token, with these entries behind those of every row."""

    def joined(row: Tensor, values: Sequence[float]) -> Tensor:
        return torch.cat([row, torch.tensor(values, dtype=row.dtype, device=row.device)])

    rows = {path: [joined(row, behind[path]) for row in leaf] for path, leaf in reader.read(batch).items()}
    return reader.write(rows, lambda path: list(map(len, rows[path])))


def mean_log_likelihoods(language: LanguageModel, batch: Any, ids: tree.Keys, spans: Tensor) -> Tensor:
    """Return ``(B, 1)`` float32: the mean log-likelihood of the tokens of a span of each row; NaN of an empty one.

    Args:
        language: The model.
        batch: A batch on the model's device.
        ids: Keys of the ids.
        spans: ``(B, 2)`` long: where the spans start and stop along the padded rows.
    """
    lengths = spans[:, 1] - spans[:, 0]
    rows = torch.arange(len(spans)).repeat_interleave(lengths)
    places = torch.cat([torch.arange(*span) for span in spans.tolist()])
    positions, at = torch.unique(places - 1, return_inverse=True)
    logits = language.logits(batch, positions)
    rows, places, at, lengths = (one.to(logits.device) for one in (rows, places, at, lengths))
    tokens = tree.get(batch, ids).to(logits.device)[rows, places].long()
    found = logits[rows, at].float().log_softmax(-1).gather(1, tokens.unsqueeze(1))[:, 0]
    return (found.new_zeros(len(spans)).index_add(0, rows, found) / lengths).unsqueeze(1)


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
