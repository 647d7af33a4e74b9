"""Learn from a first batch where its leaves are and how each node stores them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.counts import Derived
from mviz_lightning.batch.discovery import (
    NamedNodes,
    batch_size,
    modality_leaves,
    other_leaves,
    require,
    require_equal_length,
)
from mviz_lightning.batch.holdings import (
    WholeExamples,
    present,
)
from mviz_lightning.batch.interleaved.dealing import ItemTokens
from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.batch.interleaved.learning import FoundInterleaving, find_interleaving
from mviz_lightning.batch.interleaved.placeholders import NO_TOKENS, PlaceholderTokens
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.node_reader import NodeReader, require_apart
from mviz_lightning.batch.packed_nodes import PackedNodes
from mviz_lightning.batch.plain_nodes import emptied, holding_of
from mviz_lightning.batch.rows import example_count
from mviz_lightning.batch.template import moved
from mviz_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class Learned:
    """The result for a first batch; attributes as in :class:`~mviz_lightning.batch.schema.BatchSchema`."""

    modalities: Mapping[str, Modality]
    owners: Mapping[str, int]
    values: Mapping[str, list[str]]
    readers: tuple[NodeReader, ...]
    derived: tuple[Derived, ...]
    template: Any
    interleaving: Interleaving | None


def learned(
    batch: Any,
    modalities: Mapping[str, Modality],
    target: str | None,
    tokens: PlaceholderTokens = NO_TOKENS,
    ask: ItemTokens | None = None,
) -> Learned:
    """Find the leaves in a first batch.

    Args:
        batch: The user's own batch.
        modalities: Name -> modality.
        target: Path of the labels, if any.
        tokens: The placeholders of the model.
        ask: Returns the number of placeholders of each item; None if the model has no rule.

    Raises:
        ConfigurationError: See :meth:`mviz_lightning.batch.schema.BatchSchema.learn`.
    """
    given = [path for modality in modalities.values() for path in modality.leaves]
    readings = NamedNodes.readings(batch, given if target is None else [*given, target])
    failures = []
    for nodes in readings:
        try:
            _require_all(nodes, modalities, target)
            found = find_interleaving(nodes, modalities, tokens, ask)
            learner = _agreed(nodes, modalities, target) if found is None else _interleaved(nodes, found, target)
            return learner.learn()
        except ConfigurationError as error:
            failures.append(error)
    raise failures[0]


def _require_all(nodes: NamedNodes, modalities: Mapping[str, Modality], target: str | None) -> None:
    """Check that there is a node at every path."""
    for name, modality in modalities.items():
        for path in modality.leaves:
            require(f"modalities[{name!r}]", path, nodes)
        if isinstance(modality.lengths, str):
            require(f"lengths of modalities[{name!r}]", modality.lengths, nodes)
    if target is not None:
        require("target", target, nodes)


def _agreed(nodes: NamedNodes, modalities: Mapping[str, Modality], target: str | None) -> "_Learner":
    """Return the learner for the number of examples with which all named leaves can be read.

    Among several such numbers, the one with the best score (``explained``) is used.
    """
    named = [nodes.value(path) for modality in modalities.values() for path in modality.leaves]
    named += [] if target is None else [nodes.value(target)]
    first = batch_size(named)
    lengths = [example_count(value) for _, value in nodes.found.values()]
    told = [(example_count(nodes.value(one.values)) or 0) // one.views for one in modalities.values() if one.views]
    sizes = list(dict.fromkeys([*told, first, *(length for length in lengths if length)]))
    counts = [example_count(value) for value in named]
    readable: list[_Learner] = []
    failures: list[ConfigurationError] = []
    best = max(sizes, key=lambda size: (counts.count(size), _divides(size, counts)))
    for size in sizes:
        try:
            learner = _Learner(nodes, modalities, target, size)
        except ConfigurationError as error:
            failures += [error] if counts.count(size) == counts.count(best) else []
            continue
        with suppress(ConfigurationError):
            learner.require_readable()
            readable.append(learner)
    if readable:
        return max(readable, key=lambda one: (one.explained, -sizes.index(one.size)))
    if failures:  # more specific than a wrong number of entries
        raise failures[0]
    return _Learner(nodes, modalities, target, best)


def _interleaved(nodes: NamedNodes, found: FoundInterleaving, target: str | None) -> "_Learner":
    """Return the learner of a batch whose text contains placeholders: it has as many examples as texts."""
    size = example_count(nodes.value(found.interleaving.ids)) or 0
    return _Learner(nodes, found.modalities, target, size, found)


def _divides(size: int, counts: Sequence[int | None]) -> bool:
    """Return whether the named leaves have one row or several for each of ``size`` examples."""
    return size in counts and all(count == size or (size and count and count % size == 0) for count in counts)


class _Learner:
    """Learns the schema for one assumed number of examples."""

    def __init__(
        self,
        nodes: NamedNodes,
        modalities: Mapping[str, Modality],
        target: str | None,
        size: int,
        interleaved: FoundInterleaving | None = None,
    ) -> None:
        self._interleaved = interleaved
        self._nodes, self._modalities, self._target, self.size = nodes, modalities, target, size
        self._values = {name: modality_leaves(nodes, name, one, size) for name, one in modalities.items()}
        told = {one.lengths for one in modalities.values() if isinstance(one.lengths, str)}
        self._packed = PackedNodes(nodes, size, self._values, told, target)
        if interleaved is not None:
            self._packed.known.update(interleaved.holdings)
        for name, modality in modalities.items():
            if modality.views is not None:
                self._packed.register_views(self._values[name], name, modality)
            elif isinstance(modality.lengths, str):
                self._packed.register(modality.values, name, modality.lengths)
        for name, paths in self._values.items():
            for path in paths:
                self._packed.register(path, name, self._told(path, modalities[name]))
        self._packed.register_beside()

    def _told(self, path: str, modality: Modality) -> str | None:
        """Return the counter of a further leaf's rows: that of the values, if both have the same number of rows."""
        rows, own = (example_count(self._nodes.value(one)) for one in (modality.values, path))
        told = rows == own != self.size and path != modality.values and isinstance(modality.lengths, str)
        return str(modality.lengths) if told else None

    @property
    def _named(self) -> list[str]:
        paths = [path for paths in self._values.values() for path in paths]
        return paths if self._target is None or self._target in paths else [*paths, self._target]

    @property
    def explained(self) -> int:
        """Score of this number of examples: 2 per leaf with one entry per example, 1 per leaf with counted rows."""
        packed = self._packed.known.keys() | {tree.path(one.keys) for one in self._packed.derived}
        stacked = {path for path, (_, value) in self._nodes.found.items() if example_count(value) == self.size}
        return 2 * len(stacked - packed) + len(packed)

    def require_readable(self) -> None:
        """Check that every leaf that the user named can be read with this number of examples.

        Raises:
            ConfigurationError: A leaf cannot be read.
        """
        for path in self._named:
            if self._nodes.base(path) not in self._packed.known:
                require_equal_length(path, self._nodes.value(path), self.size)

    def learn(self) -> Learned:
        """Return what was learned from the batch."""
        self.require_readable()
        derived = {tree.path(one.keys) for one in self._packed.derived}
        values = {
            name: [path for path in (*paths, *self._packed.beside.get(name, ())) if path not in derived]
            for name, paths in self._values.items()
        }
        owners = _owners(values)
        if self._target is not None:
            owners.setdefault(self._target, 0)
        owners |= dict.fromkeys(self._rests(owners), 0)
        owners |= dict.fromkeys(other_leaves(self._nodes, self.size, [*owners, *derived]), 0)
        readers = tuple(self._readers(owners))
        ways = [reader.keys for reader in readers] + [one.keys for one in self._packed.derived]
        template = moved(tree.shell(self._nodes.found[""][1], dict.fromkeys(ways)), "cpu")
        interleaving = None if self._interleaved is None else self._interleaved.interleaving
        return Learned(self._modalities, owners, values, readers, tuple(self._packed.derived), template, interleaving)

    def _rests(self, owners: Mapping[str, int]) -> Iterator[str]:
        """Yield the paths of arrays that are named only in part.

        Raises:
            ConfigurationError: Parts overlap, or an array and a part of it are named.
        """
        for base in dict.fromkeys(base for base, _ in self._nodes.parts.values()):
            places = {path: self._nodes.place(path) for path in owners if self._nodes.base(path) == base}
            whole = require_apart(places, self._shape(base))
            if base in owners:
                part = next(path for path in places if path != base)
                raise ConfigurationError(
                    f"modalities: {base!r} and {part!r} overlap; the array of one example has the shape "
                    f"{self._shape(base)}. Give each entry to one modality."
                )
            if not whole:
                yield base

    def _shape(self, base: str) -> tuple[int, ...]:
        """Return the shape of the first example's array."""
        value = self._nodes.found[base][1]
        holding = self._packed.known.get(base)
        rows = value if holding is None else holding.read(self._nodes.found[""][1], value)
        array = as_tensor(rows)[0] if isinstance(rows, np.ndarray) else as_tensor(next(iter(present(rows)), None))
        if not isinstance(array, Tensor):
            raise ConfigurationError(f"{base!r} holds no arrays of which a part could be taken; give its whole path.")
        return tuple(array.shape)

    def _readers(self, owners: Iterable[str]) -> Iterator[NodeReader]:
        places = {path: self._nodes.place(path) for path in owners}
        for keys in dict.fromkeys(place.keys for place in places.values()):
            own = {path: place for path, place in places.items() if place.keys == keys}
            node = self._nodes.found[tree.path(keys)][1]
            inner = dict.fromkeys(place.inner for place in own.values())
            divided = {place.inner for place in own.values() if place.index is not None}
            shapes = {one: self._shape(tree.path((*keys, *one))) for one in divided}
            holding = self._packed.known.get(tree.path(keys)) or holding_of(node, self._nodes.outline)
            example = None
            if isinstance(holding, WholeExamples) and any(inner):
                example = emptied(holding.read(self._nodes.found[""][1], node), inner)
            yield NodeReader(keys, holding, own, shapes, example)


def _owners(values: Mapping[str, list[str]]) -> dict[str, int]:
    owners: dict[str, int] = {}
    for position, (name, paths) in enumerate(values.items()):
        for path in paths:
            if path in owners:
                other = list(values)[owners[path]]
                raise ConfigurationError(
                    f"modalities: the leaf {path!r} is given twice, in {other!r} and in {name!r}; "
                    "a leaf travels with one modality. Remove it from the other."
                )
            owners[path] = position
    return owners
