"""The nodes of a batch by path; if a node contains whole examples, also the nodes inside these."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mviz_lightning.batch import registry, tree
from mviz_lightning.batch.index import Index


@dataclass(frozen=True)
class Place:
    """The position of a leaf in a batch.

    Attributes:
        keys: Keys from the batch to a node.
        inner: Keys from each example of the node to a value; empty if the node does not contain whole examples.
        index: The selected part of each example's array; None for all of it.
    """

    keys: tree.Keys
    inner: tree.Keys = ()
    index: Index | None = None

    @property
    def path(self) -> str:
        """The path without an index, as users write it."""
        return tree.path((*self.keys, *self.inner))


Found: TypeAlias = Mapping[str, tuple[Place, Any]]
"""Path -> (place, value) for every node of a batch; for places inside examples, a list with one value per example."""


@dataclass(frozen=True)
class Outline:
    """How the nodes of a batch are read.

    Attributes:
        by_example: Whether a list of containers of one type is a list of examples. Otherwise it is a list of parts.
    """

    by_example: bool = False

    def examples(self, node: Any) -> list[Any] | None:
        """Return the examples in a node; None if it does not contain whole examples."""
        registered = registry.examples_of(node)
        if registered is not None:
            return list(registered.split(node))
        return list(node) if self.by_example and _are_examples(node) else None

    def children(self, place: Place, value: Any) -> list[tuple[Place, Any]]:
        """Return the places directly below a place, with their values; none for a leaf."""
        if place.inner:
            return _columns(place, value)
        examples = self.examples(value)
        if examples:
            return _columns(place, examples)
        return [(Place((*place.keys, key)), child) for key, child in tree.children(value)]

    def nodes(self, batch: Any) -> Found:
        """Return every node of a batch by path; the batch itself has the empty path."""
        return {place.path: (place, value) for place, value in self._walk(Place(()), batch)}

    def _walk(self, place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
        yield place, value
        for child in self.children(place, value):
            yield from self._walk(*child)


def _are_examples(node: Any) -> bool:
    """Return whether a node is a list of containers of one type, each with named entries."""
    if not isinstance(node, list | tuple) or hasattr(node, "_fields") or not node:
        return False
    first = node[0]
    if type(first) in (list, tuple):
        alike = all(type(one) is type(first) and len(one) == len(first) for one in node)
        return alike and len(set(map(type, first))) > 1
    named = bool(tree.children(first))
    return named and all(
        isinstance(one, Mapping) if isinstance(first, Mapping) else type(one) is type(first) for one in node
    )


def _columns(place: Place, values: Sequence[Any]) -> list[tuple[Place, Any]]:
    """Return the entries of some containers, one column per key; None where a container has no such entry."""
    held = [dict(tree.children(value)) for value in values]
    keys = dict.fromkeys(key for entries in held for key in entries)
    return [(Place(place.keys, (*place.inner, key)), [entries.get(key) for entries in held]) for key in keys]
