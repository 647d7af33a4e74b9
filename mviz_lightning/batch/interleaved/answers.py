"""Answers in texts: the start and end of the first answer of each text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.batch.interleaved.tokenwise import IGNORED
from mviz_lightning.errors import ConfigurationError, NotMeasurableError

ASKED = (
    "all tokens of {labels!r} count as the answer, so nothing tells where the answer begins. Give the tokens in front "
    "of it: Modality({ids!r}, answer_start=tokenizer.encode('ASSISTANT:', add_special_tokens=False))."
)
SHIFTED = (
    "{labels!r} holds other tokens than {ids!r} at the same places, so nothing tells which tokens are the answer. Give "
    "labels that are the ids themselves, -100 where a token is no answer; the model shifts them by itself."
)

NOWHERE = (
    "answer_start={before} of {ids!r} stands in front of nothing in all texts; give tokens as they stand in the ids."
)
UNLABELLED = (
    "{labels!r} is -100 at all tokens, so that there is no answer; give batches whose answers are not truncated."
)


@dataclass(frozen=True)
class AnswerFinder:
    """Finds the first answer of a text: the first run of labelled tokens, or the text after given tokens.

    Attributes:
        found: The interleaved text and its modalities.
        labels: Keys of the labels in a batch; None without labels.
        ids: Keys of the ids.
        before: Ids right before an answer; empty if labels mark its start.
    """

    found: Interleaving
    ids: tree.Keys
    labels: tree.Keys | None
    before: tuple[int, ...] = ()

    def spans_in(self, batch: Any) -> Tensor:
        """Return ``(B, 2)`` long: start and stop of each row's answer, counted from the row's first own token."""
        limits = self.found.own.limits(batch)
        texts, labels = (
            None
            if keys is None
            else [row[slice(*limit)] for row, limit in zip(_rows(batch, keys), limits, strict=True)]
            for keys in (self.ids, self.labels)
        )
        return self.spans(texts or [], labels)

    def spans(self, texts: Sequence[Tensor], labels: Sequence[Tensor] | None) -> Tensor:
        """Return ``(N, 2)`` long: start and stop of each answer, equal for a text without an answer.

        Args:
            texts: The ids of each text, ``(T,)``, without padding.
            labels: The labels of each text; None without labels.
        """
        known = [None] * len(texts) if labels is None else labels
        found = [self._span(*pair) for pair in zip(texts, known, strict=True)]
        return torch.tensor(found, dtype=torch.long).view(-1, 2)

    def _span(self, text: Tensor, labels: Tensor | None) -> tuple[int, int]:
        counted = torch.ones(len(text), dtype=torch.bool) if labels is None else labels != IGNORED
        start = self._behind(text) if self.before else _first(counted)
        rest = counted[start:]
        return start, start + (_first(~rest) if len(rest) and bool(rest[0]) else len(rest))

    def _behind(self, text: Tensor) -> int:
        """Return the position after the first occurrence of the tokens before answers; the end if there is none."""
        wanted, size = torch.tensor(self.before), len(self.before)
        places = (text.unfold(0, size, 1) == wanted).all(1) if len(text) >= size else torch.zeros(0, dtype=torch.bool)
        place = _first(places)
        return place + size if place < len(places) else len(text)

    def require(self, texts: Sequence[Tensor], labels: Sequence[Tensor] | None, spans: Tensor) -> None:
        """Check that answers are known, and that labels equal the ids.

        Raises:
            ConfigurationError: The start of answers is unknown.
            NotMeasurableError: Labels differ from the ids, or there is no answer.
        """
        named = {"ids": self.found.ids, "labels": self.found.labels, "before": list(self.before)}
        if bool((spans[:, 0] == spans[:, 1]).all()):
            raise NotMeasurableError((NOWHERE if self.before else UNLABELLED).format(**named))
        if bool((spans[:, 0] == 0).any()):
            raise ConfigurationError(ASKED.format(**named))
        for text, own, (start, stop) in zip(texts, labels or (), spans.tolist(), strict=False):
            if not self.before and not torch.equal(text[start:stop].long(), own[start:stop].long()):
                raise NotMeasurableError(SHIFTED.format(**named))


def _rows(batch: Any, keys: tree.Keys) -> Tensor:
    rows: Tensor = as_tensor(tree.get(batch, keys))
    return rows.detach().cpu()


def _first(marked: Tensor) -> int:
    """Return the first position that is True; the number of positions if none is."""
    return int(marked.long().argmax()) if bool(marked.any()) else len(marked)
