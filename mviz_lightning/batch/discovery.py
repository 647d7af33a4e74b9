"""Find the leaves of a batch: the nodes with one entry per example."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mviz_lightning.batch import tree
from mviz_lightning.batch.index import Index
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.outline import Found, Outline, Place
from mviz_lightning.batch.rows import describe_leaf, example_count
from mviz_lightning.batch.unread import advice
from mviz_lightning.errors import ConfigurationError

FEWEST_ALIKE = 3
"""Smallest number of mappings in a list that messages describe as examples; two may be parts of a batch."""


@dataclass(frozen=True)
class NamedNodes:
    """The nodes of a batch, and those among them that the user named.

    Attributes:
        outline: How the nodes are read.
        found: Every node by path.
        parts: Path as the user wrote it -> path of its node, and the index after it; only for paths with an index.
    """

    outline: Outline
    found: Found
    parts: Mapping[str, tuple[str, Index]]

    @classmethod
    def readings(cls, batch: Any, paths: Sequence[str]) -> "list[NamedNodes]":
        """Return the ways to read a batch that find all paths; if none does, the first way.

        A list of containers is first read as a list of parts, and as a list of examples only if that finds nothing.
        Exception: in a list such as ``[(image, table, 3), ...]``, whose tuples have values of several types, a path
        means a place in each example.

        Args:
            batch: The user's own batch.
            paths: Paths as the user wrote them.
        """
        tried = []
        for outline in (Outline(), Outline(by_example=True)):
            found = outline.nodes(batch)
            parts = {path: _with_index(path) for path in paths if path not in found and path.endswith("]")}
            tried.append(cls(outline, found, parts))
        whole = [nodes for nodes in tried if all(nodes.base(path) in nodes.found for path in paths)]
        mixed = len(whole) > 1 and any(_is_mixed(whole[0].value(path)) for path in paths)
        return (whole[::-1] if mixed else whole) or tried[:1]

    def base(self, path: str) -> str:
        """Return the path of the node to which a path belongs; without an index, the path itself."""
        return self.parts[path][0] if path in self.parts else path

    def place(self, path: str) -> Place:
        """Return the place of the leaf at a path."""
        place = self.found[self.base(path)][0]
        return Place(place.keys, place.inner, self.parts[path][1]) if path in self.parts else place

    def value(self, path: str) -> Any:
        """Return the value of the node to which a path belongs."""
        return self.found[self.base(path)][1]


def _is_mixed(node: Any) -> bool:
    """Return whether a node is a plain list or tuple of values of several types."""
    return type(node) in (list, tuple) and len(set(map(type, node))) > 1


def _with_index(path: str) -> tuple[str, Index]:
    base, _, text = path[:-1].partition("[")
    return base, Index.parse(path, text)


def describe_leaves(batch: Any) -> str:
    """List the leaves of a batch with their shapes, for messages: ``image (16, 3, 32, 32), label (16,)``.

    For a list of examples with the same keys, the leaves of the first example are listed.
    """
    return ", ".join(_described((), batch)) or f"one {type(batch).__name__} {describe_leaf(batch)}"


def _described(keys: tree.Keys, node: Any) -> Iterator[str]:
    children = tree.children(node)
    if keys and not children:
        yield f"{tree.path(keys)} {describe_leaf(node)}"
    elif _are_alike(node):
        yield f"{', '.join(_described(keys, node[0]))} in each of {len(node)} examples"
    else:
        for key, child in children:
            yield from _described((*keys, key), child)


def _are_alike(node: Any) -> bool:
    """Return whether a node is a list of mappings with the same keys, too many to be parts of a batch."""
    if not _is_plain_list(node) or len(node) < FEWEST_ALIKE or not all(isinstance(one, Mapping) for one in node):
        return False
    return len({frozenset(one) for one in node}) == 1


def require(argument: str, path: str, nodes: NamedNodes) -> Any:
    """Return the node at a path that the user gave.

    Args:
        argument: Name of the argument, for the message.
        path: The path.
        nodes: The batch's nodes.

    Raises:
        ConfigurationError: There is no such node; the message lists the leaves of the batch.
    """
    if nodes.base(path) not in nodes.found:
        leaves = describe_leaves(nodes.found[""][1])
        unread = advice({one: value for one, (_, value) in nodes.found.items()}, path)
        raise ConfigurationError(f"{argument}: no leaf {path!r} in the batch; leaves found: {leaves}.{unread}")
    return nodes.value(path)


def batch_size(named: Sequence[Any]) -> int:
    """Return the number of examples in a batch.

    Args:
        named: Nodes that the user named. The first tensor or array determines the number, otherwise the first list of
            strings or numbers. Lists of tensors come last, because they may have one tensor per example or several
            leaves.

    Raises:
        ConfigurationError: No node has one entry per example.
    """
    plain = [node for node in named if not tree.children(node)]
    arrays = [node for node in plain if not _is_plain_list(node)]
    mapped = [node for container in named for node in _arrays(container)]
    inside = [node for container in named for _, node in tree.nodes(container) if not tree.children(node)]
    for node in [*arrays, *plain, *mapped, *named, *inside]:
        size = example_count(node)
        if size is not None:
            return size
    raise ConfigurationError(
        f"modalities: none of the leaves named holds one entry per example; they are "
        f"{', '.join(map(describe_leaf, named))}. Give paths of tensors or lists with the example as first dimension."
    )


def modality_leaves(nodes: NamedNodes, name: str, modality: Modality, size: int) -> list[str]:
    """Return the paths of a modality's leaves; a path to a container means all leaves below it.

    Args:
        nodes: The batch's nodes.
        name: Name of the modality, for the error.
        modality: The modality.
        size: Number of examples in the batch.

    Raises:
        ConfigurationError: There is no leaf at or below one of the modality's paths.
    """
    paths = []
    for given in modality.leaves:
        below = [given] if given in nodes.parts else list(_below(nodes, given, size, named=True))
        if not below:
            raise ConfigurationError(
                f"modalities[{name!r}]: there is no leaf below {given!r}; give the path of a leaf."
            )
        paths += below
    return paths


def other_leaves(nodes: NamedNodes, size: int, named: Iterable[str]) -> Iterator[str]:
    """Yield the paths of leaves with one entry per example that the user did not name.

    A container that contains a named leaf is not a leaf itself.
    """
    ways = {(*place.keys, *place.inner) for place in map(nodes.place, named)}

    def search(place: Place, value: Any) -> Iterator[str]:
        way = (*place.keys, *place.inner)
        if way in ways:
            return
        holds_named = any(one[: len(way)] == way for one in ways)
        if not holds_named and _is_leaf(nodes.outline, place, value, size, named=False):
            if example_count(value) == size:
                yield place.path
            return
        for child in nodes.outline.children(place, value):
            yield from search(*child)

    yield from search(Place(()), nodes.found[""][1])


def require_equal_length(path: str, leaf: Any, size: int) -> None:
    """Check that a leaf has one entry per example.

    Args:
        path: Path of the leaf.
        leaf: The leaf.
        size: Number of examples in the batch.

    Raises:
        ConfigurationError: It has another number of entries.
    """
    length = example_count(leaf)
    if length == size:
        return
    has = "no entry per example" if length is None else f"{length} entries"
    counted = (
        ""
        if length is None
        else _views_advice(path, length // size)
        if length > size > 0 and length % size == 0
        else (
            " Where it has several rows for each example, one behind another, name the leaf that counts them: "
            f"Modality({path!r}, lengths=...)."
        )
    )
    raise ConfigurationError(
        f"modalities: the leaf {path!r} ({describe_leaf(leaf)}) has {has}, but the batch holds {size} "
        f"examples. Give leaves whose first dimension is the example.{counted}"
    )


def _views_advice(path: str, views: int) -> str:
    return (
        f" Where each example has {views} rows, give Modality({path!r}, lengths={views}) if they follow one another, "
        f"or Modality({path!r}, lengths={views}, blocks=True) if a block of all examples follows another; where a leaf "
        f"counts them, Modality({path!r}, lengths=...) with its path."
    )


def _below(nodes: NamedNodes, path: str, size: int, *, named: bool) -> Iterator[str]:
    place, value = nodes.found[path]
    if _is_leaf(nodes.outline, place, value, size, named=named):
        if named or example_count(value) is not None:
            yield path
        return
    for child, _ in nodes.outline.children(place, value):
        yield from _below(nodes, child.path, size, named=False)


def _is_leaf(outline: Outline, place: Place, value: Any, size: int, *, named: bool) -> bool:
    """Return whether a node is a leaf and not a container.

    A list with as many tensors as examples is a leaf with one tensor per example. There is one exception: a list that
    the user did not name is a container if its entries are batches, for example ``[images, texts]`` of two examples.
    """
    if not outline.children(place, value):
        return True
    if place.inner or not _is_plain_list(value) or len(value) != size or outline.examples(value) is not None:
        return False
    return named or not all(example_count(entry) == size for entry in value)


def _is_plain_list(node: Any) -> bool:
    return type(node) in (list, tuple)


def _arrays(container: Any) -> list[Any]:
    """Return the nodes below mappings and dataclasses, without those inside lists of tensors."""
    if _is_plain_list(container) and tree.children(container):
        return []
    children = [child for _, child in tree.children(container)]
    return [container] if not children else [leaf for child in children for leaf in _arrays(child)]
