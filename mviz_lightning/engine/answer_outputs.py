"""Outputs of a language model behind the prompt: logits of first tokens, and the likelihood of answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from mviz_lightning.batch import Probe, tree
from mviz_lightning.batch.answered import AnsweredTexts
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.batch.node_reader import NodeReader
from mviz_lightning.engine.agreement import agree
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.language_model import LanguageModel, last_positions
from mviz_lightning.engine.packed_rows import PackedRow
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.seen_rows import TextRows
from mviz_lightning.errors import NotMeasurableError

TRIED = 4
"""Number of rows that are evaluated with and without their answers."""

LEAKS = (
    "the logits in front of an answer change once the answer is dropped: the model reads the answer that it has to "
    "predict, also in your training. Give the leaf that separates prompt and answer (token_type_ids: 0 in the prompt, "
    "1 in the answer)."
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
        """Return ``(B, K)`` logits for a batch of prompts."""
        positions, at = self._read_at(batch)
        logits = self.language.logits(batch, positions)
        return self._of_tokens(_each(logits, at))

    def vectors(self, found: Tensor, batch: Any) -> Tensor | None:
        """Return ``(B, D)``: each row's vector at the position where its logits are read.

        Args:
            found: What a submodule takes or returns: ``(B, T, D)`` at all positions of the batch, or ``(B, K, D)`` at
                the positions of the logits alone.
            batch: The batch of prompts.

        Returns:
            None where positions have no vectors of their own.
        """
        positions, at = self._read_at(batch)
        width = self.language.own_tokens(batch).shape[1]
        if found.dim() != 3 or len(found) != len(at) or found.shape[1] not in (width, len(positions)):
            return None
        return _each(found, positions[at] if found.shape[1] == width else at)

    def _read_at(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the K positions whose logits are read, and ``(B,)``: which of them belongs to each row."""
        positions, at = torch.unique(last_positions(self.language.own_tokens(batch)), return_inverse=True)
        return positions, at

    @property
    def branches(self) -> int:
        """Number of branches of a packed row for each row."""
        return 1

    def of_rows(self, rows: TextRows) -> Tensor:
        """Return ``(R, K)`` logits for prompts whose logits are known."""
        lengths = rows.lengths
        return self._of_tokens(rows.logits(torch.arange(len(lengths)), lengths - 1))

    def _of_tokens(self, logits: Tensor) -> Tensor:
        return logits if self.tokens is None else logits[:, self.tokens.to(logits.device)]


@dataclass(frozen=True)
class FirstOfAnswers:
    """Logits of the first token of each row's answer, for batches whose rows hold their answers.

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
        return _each(self.language.logits(batch, positions), at)


def _each(found: Tensor, at: Tensor) -> Tensor:
    """Return ``(B, D)`` of ``(B, K, D)``: each row's entry at its own index in ``at``, ``(B,)``."""
    return found[torch.arange(len(at), device=found.device), at.to(found.device)]


@dataclass(frozen=True)
class OwnAnswers:
    """Mean log-likelihood per token of each row's own answer; a recombined row has the answer of its text.

    Attributes:
        language: The model.
        finder: Finds the answers.
    """

    language: LanguageModel
    finder: AnswerFinder

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return ``(B, 1)`` for a batch of rows with answers; NaN for a row without one."""
        first = self.language.own_tokens(batch).long().argmax(1, keepdim=True)
        return mean_log_likelihoods(self.language, batch, self.finder.ids, self.finder.spans_in(batch) + first)

    @property
    def branches(self) -> int:
        """Number of branches of a packed row for each row."""
        return 1

    def of_rows(self, rows: TextRows) -> Tensor:
        """Return ``(R, 1)`` for rows with answers whose logits are known."""
        labels = self.finder.found.labels
        return likelihoods_of_rows(rows, self.finder.spans(rows.ids, None if labels is None else rows.texts[labels]))


@dataclass(frozen=True)
class WholeAnswers:
    """Mean log-likelihood per token of each of A answers behind each row's prompt; one forward for each answer.

    Attributes:
        language: The model.
        finder: Finds the answers.
        answers: The tokens of A answers.
        beside: Path of each per-token leaf that the model takes -> its value at the tokens of answers; the value for
            the ids is not used.
    """

    language: LanguageModel
    finder: AnswerFinder
    answers: tuple[tuple[int, ...], ...]
    beside: Mapping[str, float]

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return ``(B, A)`` for a batch of prompts."""
        return torch.cat([self._likelihoods(batch, answer) for answer in self.answers], 1)

    @property
    def branches(self) -> int:
        """Number of branches of a packed row for each row."""
        return len(self.answers)

    def of_rows(self, row: PackedRow) -> Tensor:
        """Return ``(R, A)`` for packed prompts."""
        sizes = torch.tensor(list(map(len, self.answers)))
        endings = {path: [torch.full((size,), value) for size in sizes.tolist()] for path, value in self.beside.items()}
        endings[self.finder.found.ids] = list(map(torch.tensor, self.answers))
        whole, lengths = row.followed_by(endings), sizes.repeat(len(row.ids))
        stops = whole.branches.lengths
        return likelihoods_of_rows(whole, torch.stack([stops - lengths, stops], 1)).view(len(row.ids), -1)

    def _likelihoods(self, batch: Any, answer: tuple[int, ...]) -> Tensor:
        whole = self._answered(batch, answer)
        stops = last_positions(self.language.own_tokens(whole)) + 1
        return mean_log_likelihoods(self.language, whole, self.finder.ids, torch.stack([stops - len(answer), stops], 1))

    def _answered(self, batch: Any, answer: tuple[int, ...]) -> Any:
        """Return a batch of prompts with an answer behind each."""
        behind = {path: [value] * len(answer) for path, value in self.beside.items()}
        behind[self.finder.found.ids] = list(answer)
        readers = [reader for reader in self.language.schema.readers if reader.places.keys() & behind.keys()]
        limits = self.finder.found.own.limits(batch)
        return tree.replace(batch, {reader.keys: _longer(reader, batch, behind, limits) for reader in readers})


AnswerReader = TypeVar("AnswerReader", bound="FirstTokens | OwnAnswers | WholeAnswers")


@dataclass(frozen=True)
class AnswerReading:
    """How a score reads examples with answers.

    Attributes:
        reader: Computes what is read.
        kept: Returns the examples cut to what is read: their prompts, or their prompts with the answers.
        usable: Returns ``(N,)`` bool: the examples that can be read.
    """

    reader: FirstTokens | OwnAnswers
    kept: Callable[[Probe], Probe]
    usable: Callable[[Probe], Tensor]


def of_model(reader: AnswerReader, language: LanguageModel) -> AnswerReader:
    """Return the same reader for another model, on batches of the same schema."""
    return replace(reader, language=replace(language, schema=reader.language.schema))


def _longer(
    reader: NodeReader, batch: Any, behind: Mapping[str, Sequence[float]], limits: Sequence[tuple[int, int]]
) -> Any:
    """Return a node with an entry for each token, with further entries behind every row's own.

    Args:
        reader: Reads and writes the node.
        batch: A batch; words may be masked.
        behind: Path -> the entries.
        limits: Where each row's own tokens start and stop.
    """
    found, joined = as_tensor(tree.get(batch, reader.keys)), {}
    for path in reader.places:
        entries = torch.tensor(behind[path], dtype=found.dtype, device=found.device)
        joined[path] = [torch.cat([row[slice(*own)], entries]) for row, own in zip(found, limits, strict=True)]
    return reader.write(joined, lambda path: list(map(len, joined[path])))


def mean_log_likelihoods(language: LanguageModel, batch: Any, ids: tree.Keys, spans: Tensor) -> Tensor:
    """Return ``(B, 1)`` float32: the mean log-likelihood of the tokens in each row's span; NaN for an empty span.

    Args:
        language: The model.
        batch: A batch on the model's device.
        ids: Keys of the ids.
        spans: ``(B, 2)`` long: where the spans start and stop along the padded rows.
    """
    rows, places = _in_spans(spans)
    positions, at = torch.unique(places - 1, return_inverse=True)
    logits = language.logits(batch, positions)
    tokens = tree.get(batch, ids).to(logits.device)[rows.to(logits.device), places.to(logits.device)]
    return _means(logits[rows.to(logits.device), at.to(logits.device)], tokens, spans)


def likelihoods_of_rows(found: TextRows, spans: Tensor) -> Tensor:
    """Return :func:`mean_log_likelihoods` of rows whose logits are known, ``(R, 1)``.

    Args:
        found: The rows.
        spans: ``(R, 2)`` long: where the spans start and stop in each row.
    """
    rows, places = _in_spans(spans)
    tokens = torch.cat([ids[slice(*span)] for ids, span in zip(found.ids, spans.tolist(), strict=True)])
    return _means(found.logits(rows, places - 1), tokens, spans)


def _in_spans(spans: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row and the position of each token in spans ``(B, 2)``, ``(P,)`` each."""
    rows = torch.arange(len(spans)).repeat_interleave(spans[:, 1] - spans[:, 0])
    return rows, torch.cat([torch.arange(*span) for span in spans.tolist()])


def _means(logits: Tensor, tokens: Tensor, spans: Tensor) -> Tensor:
    """Return ``(B, 1)`` means over spans of the log-likelihoods of ``(P,)`` tokens, given logits ``(P, V)``."""
    rows, lengths = _in_spans(spans)[0].to(logits.device), (spans[:, 1] - spans[:, 0]).to(logits.device)
    tokens = tokens.to(logits.device).long()
    found = logits.float().log_softmax(-1).gather(1, tokens.unsqueeze(1))[:, 0]
    return (found.new_zeros(len(spans)).index_add(0, rows, found) / lengths).unsqueeze(1)


def check_dropped_answers(evaluator: Evaluator, language: LanguageModel, texts: AnsweredTexts) -> None:
    """Check that the logits before the answers stay the same without the answers.

    Args:
        evaluator: Runs the model on rows without answers.
        language: The model.
        texts: Some examples.

    Raises:
        NotMeasurableError: They change.
    """
    rows = torch.arange(min(TRIED, texts.probe.size))
    query = Query.aligned(rows, len(texts.probe.schema.names))
    whole = replace(evaluator, predict=FirstOfAnswers(language, texts.finder))
    dropped = replace(evaluator, predict=FirstTokens(language)).plain(texts.prompted, query)
    if not agree(whole.plain(texts.answered, query), dropped):
        raise NotMeasurableError(LEAKS)
