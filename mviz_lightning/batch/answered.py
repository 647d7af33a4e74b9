"""Examples whose texts end with an answer: the answers, and the examples without them."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mviz_lightning.batch.holdings import unpadded
from mviz_lightning.batch.interleaved.answers import AnswerFinder
from mviz_lightning.batch.interleaved.tokenwise import IGNORED
from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.schema import BatchSchema


def finder_in(schema: BatchSchema) -> AnswerFinder | None:
    """Return the finder of answers in texts with placeholders; None without labels and ``answer_start``."""
    found = schema.interleaving
    before = () if found is None else schema.modalities[found.text].answer_start
    if found is None or not (found.labels or before):
        return None
    labels = None if found.labels is None else schema.keys[found.labels]
    return AnswerFinder(found, schema.keys[found.ids], labels, tuple(before or ()))


def with_text(schema: BatchSchema, labels: str | None) -> BatchSchema:
    """Return a schema in which the token labels, which mark the answer, belong to the text."""
    found = schema.interleaving
    if found is None or labels is None:
        return schema
    owners = {**schema.owners, labels: schema.names.index(found.text)}
    return replace(schema, owners=owners, values={**schema.values, found.text: [*schema.values[found.text], labels]})


@dataclass(frozen=True)
class AnsweredTexts:
    """The texts of examples, and the first answer in each.

    Attributes:
        probe: The examples.
        finder: Finds the answers.
    """

    probe: Probe
    finder: AnswerFinder

    @cached_property
    def texts(self) -> list[Tensor]:
        """The ids of each text, ``(T,)``, without padding."""
        return self._rows(self.finder.found.ids)

    @cached_property
    def spans(self) -> Tensor:
        """``(N, 2)`` long: start and stop of each answer.

        Raises:
            ConfigurationError: The start of answers is unknown.
            NotMeasurableError: Labels differ from the token ids.
        """
        labels = None if self.finder.found.labels is None else self._rows(self.finder.found.labels)
        spans = self.finder.spans(self.texts, labels)
        self.finder.require(self.texts, labels, spans)
        return spans

    @cached_property
    def answers(self) -> list[tuple[int, ...]]:
        """The tokens of each answer; an empty tuple for a text without an answer."""
        pairs = zip(self.texts, self.spans.tolist(), strict=True)
        return [tuple(text[start:stop].tolist()) for text, (start, stop) in pairs]

    @property
    def labelled(self) -> int:
        """Number of labelled tokens of all texts; 0 without labels."""
        path = self.finder.found.labels
        return 0 if path is None else sum(int((row != IGNORED).sum()) for row in self._rows(path))

    @cached_property
    def usable(self) -> Tensor:
        """``(N,)`` bool: the examples with an answer after all items (text after the answer is dropped)."""
        ends = [max((block.stop for block in self.finder.found.blocks(text)), default=0) for text in self.texts]
        return (self.spans[:, 1] > self.spans[:, 0]) & (torch.tensor(ends) <= self.spans[:, 0])

    @cached_property
    def prompts(self) -> list[tuple[int, ...]]:
        """The tokens before each answer, without the blocks of items."""
        found = []
        for text, start in zip(self.texts, self.spans[:, 0].tolist(), strict=True):
            words = torch.ones(start, dtype=torch.bool)
            for block in self.finder.found.blocks(text):
                words[block.start : block.stop] = False
            found.append(tuple(text[:start][words].tolist()))
        return found

    @cached_property
    def beside(self) -> dict[str, float]:
        """Path of each per-token leaf but the labels -> its most frequent value at the first token of an answer."""
        has = (self.spans[:, 1] > self.spans[:, 0]).nonzero()[:, 0]
        paths = [path for path in self.finder.found.tokenwise if path != self.finder.found.labels]
        found = {path: self.probe.leaves[path][has, self.spans[has, 0]] for path in paths}
        return {path: values.mode().values.item() for path, values in found.items()}

    @cached_property
    def prompted(self) -> Probe:
        """The examples up to the answer, without the answer and the rest."""
        return self._cut(self.spans[:, 0])

    @cached_property
    def answered(self) -> Probe:
        """The examples up to the end of the answer."""
        return self._cut(self.spans[:, 1])

    def _cut(self, stops: Tensor) -> Probe:
        return replace(_cut(self.probe, stops), prompt_ends=self.spans[:, 0])

    def _rows(self, path: str) -> list[Tensor]:
        return unpadded(self.probe.leaves[path], self.probe.bounds.get(path))


def _cut(probe: Probe, stops: Tensor) -> Probe:
    """Return a probe whose texts end at these positions ``(N,)``."""
    found = probe.schema.interleaving
    paths = () if found is None else found.tokenwise
    longest = int(stops.max())
    kept = torch.arange(longest) < stops.unsqueeze(1)
    leaves = {path: probe.leaves[path][:, :longest] for path in paths}
    cut = {path: leaf.where(kept, torch.zeros_like(leaf)) for path, leaf in leaves.items()}
    own = torch.stack([torch.zeros_like(stops), stops], 1).unsqueeze(1)
    return replace(probe, leaves={**probe.leaves, **cut}, bounds={**probe.bounds, **dict.fromkeys(paths, own)})
