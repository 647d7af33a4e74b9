"""Common traits of examples: tokens, classes, and values of other leaves of the batch."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.errors import ConfigurationError, MonitorWarning
from mviz_lightning.functional import Task, benjamini_hochberg, over_represented
from mviz_lightning.functional.targets import decided, labelled
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.base import type_in
from mviz_lightning.modalities.text import Text

FEWEST = 3
"""Smallest number of examples with a trait; a rarer trait cannot be distinguished from chance."""

MOST_VALUES = 20
"""Largest number of distinct values of a categorical leaf. Leaves with more values count as measurements or indices."""

FALSE_DISCOVERIES = 0.05
"""Accepted false discovery rate of the concepts."""

NAMED = 3
"""Largest number of concepts of one feature."""

EVERY_WORD = 1_000_000
"""Number of segments that is large enough to make each word of a text a segment."""

AROUND_WORDS = ".,;:!?\"'()[]"

Value: TypeAlias = str | int | bool


@dataclass(frozen=True)
class Trait:
    """A property that an example has or does not have.

    Attributes:
        kind: A word of a text, a class of the target, or the value of a leaf that belongs to no modality.
        source: Modality or path of the leaf.
        value: The word, the class or the value.
    """

    kind: Literal["word", "class", "value"]
    source: str
    value: Value


@dataclass(frozen=True)
class Concept:
    """A trait that is over-represented among a feature's strongest examples.

    Attributes:
        trait: The trait.
        hits: Number of the strongest examples with the trait.
        drawn: Number of the strongest examples.
        having: Number of all examples with the trait.
        total: Number of all examples.
        q: False discovery rate among all concepts that are at least as certain (q-value).
    """

    trait: Trait
    hits: int
    drawn: int
    having: int
    total: int
    q: float


@dataclass(frozen=True)
class Traits:
    """The traits of examples.

    Attributes:
        named: K traits.
        carriers: ``(N, K)`` bool, True where an example has a trait.
    """

    named: Sequence[Trait]
    carriers: Tensor

    def concepts(self, groups: Sequence[Sequence[int]]) -> list[list[Concept]]:
        """Return, for each group of examples, the traits that are over-represented in it, the most certain first.

        Hypergeometric tests against all examples, with Benjamini and Hochberg's correction over all groups and traits.
        """
        total, having = len(self.carriers), self.carriers.sum(0)
        hits = [self.carriers[torch.tensor(group, dtype=torch.long)].sum(0) for group in groups]
        chances = [
            over_represented(found.tolist(), len(group), having.tolist(), total)
            for found, group in zip(hits, groups, strict=True)
        ]
        if not chances:
            return []
        q = benjamini_hochberg(torch.cat(chances)).view(len(groups), len(self.named))
        return [
            [
                Concept(self.named[k], int(hits[row][k]), len(group), int(having[k]), total, float(q[row, k]))
                for k in q[row].argsort(stable=True)[:NAMED].tolist()
                if q[row, k] < FALSE_DISCOVERIES
            ]
            for row, group in enumerate(groups)
        ]


def traits(probe: Probe, task: Task) -> Traits:
    """Collect the words of texts, the classes, and the values of leaves with few distinct values."""
    carried: dict[Trait, set[int]] = {}
    for trait, example in (*_words(probe), *_classes(probe, task), *_values(probe)):
        carried.setdefault(trait, set()).add(example)
    frequent = {trait: examples for trait, examples in carried.items() if len(examples) >= FEWEST}
    carriers = torch.zeros(probe.size, len(frequent), dtype=torch.bool)
    for k, examples in enumerate(frequent.values()):
        carriers[sorted(examples), k] = True
    return Traits(list(frequent), carriers)


def _words(probe: Probe) -> Iterator[tuple[Trait, int]]:
    for name, modality_type in texts(probe).items():
        for example in range(probe.size):
            for word in modality_type.names(example):
                plain = word.casefold().strip(AROUND_WORDS)
                if plain:
                    yield Trait("word", name, plain), example


def texts(probe: Probe) -> dict[str, ModalityType]:
    """Return the modalities that are texts, with each word as a segment."""
    found: dict[str, ModalityType] = {}
    for name, modality in probe.schema.modalities.items():
        path = probe.schema.values[name][0]
        with warnings.catch_warnings():  # the same warning was given when the modality was segmented
            warnings.simplefilter("ignore", MonitorWarning)
            try:
                modality_type = type_in(probe.schema, probe.leaves, name)
                if issubclass(modality_type, Text):
                    every = replace(modality, max_segments=EVERY_WORD)
                    found[name] = modality_type(every, probe.leaves, path, probe.own_entries(path))
            except ConfigurationError:
                continue
    return found


def _classes(probe: Probe, task: Task) -> Iterator[tuple[Trait, int]]:
    target = probe.target
    if target is None or task == "regression":
        return
    source = str(probe.schema.target)
    labels = decided(target, task).reshape(len(target), -1)
    for example in labelled(labels, task).nonzero().flatten().tolist():
        row = labels[example]
        on = row.nonzero().flatten().tolist() if task == "multilabel" else row.tolist()
        yield from ((Trait("class", source, label), example) for label in on)


def _values(probe: Probe) -> Iterator[tuple[Trait, int]]:
    for path in probe.schema.unowned:
        values = None if path == probe.schema.target else _listed(probe.leaves[path])
        if values is not None and len(set(values)) <= MOST_VALUES:
            yield from ((Trait("value", path, value), example) for example, value in enumerate(values))


def _listed(leaf: Any) -> list[Value] | None:
    """Return a leaf's entries, one per example; None if they are neither integers nor strings."""
    if isinstance(leaf, Tensor):
        whole = not leaf.is_floating_point() and not leaf.is_complex()
        return leaf.flatten().tolist() if whole and leaf[:1].numel() == 1 else None
    plain = isinstance(leaf, list | tuple) and all(isinstance(value, str | int) for value in leaf)
    return list(leaf) if plain else None
