"""Find the nodes of a batch that hold one entry for each example."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch import tree
from mviz_lightning.batch.modality import Modality
from mviz_lightning.errors import ConfigurationError

Found: TypeAlias = Mapping[str, tuple[tree.Keys, Any]]
"""Every node of a batch by path, with the way to it; the batch itself stands under the empty path."""


def find(batch: Any) -> Found:
    """Return every node of a batch."""
    return {tree.path(keys): (keys, node) for keys, node in tree.nodes(batch)}


def describe(batch: Any) -> str:
    """List the leaves of a batch with their shapes, for messages."""
    leaves = [(keys, node) for keys, node in tree.nodes(batch) if keys and not tree.children(node)]
    listed = ", ".join(f"{tree.path(keys)} {leaf_kinds.describe(node)}" for keys, node in leaves)
    return listed or f"one {type(batch).__name__} {leaf_kinds.describe(batch)}"


def require(argument: str, path: str, found: Found) -> Any:
    """Return the node at a path that the user gave.

    Raises:
        ConfigurationError: There is none; the message lists what there is.
    """
    if path not in found:
        raise ConfigurationError(f"{argument}: no leaf {path!r} in the batch; leaves found: {describe(found[''][1])}.")
    return found[path][1]


def batch_size(named: Sequence[Any]) -> int:
    """Return how many examples a batch holds.

    Args:
        named: Nodes that the user named. A tensor tells at once; so does a list of strings; a list of tensors is
            believed last, for it may be one tensor an example or several leaves.

    Raises:
        ConfigurationError: None of them tells.
    """
    plain = [node for node in named if not tree.children(node)]
    arrays = [node for node in plain if not _is_plain_list(node)]
    mapped = [node for container in named for node in _arrays(container)]
    inside = [node for container in named for _, node in tree.nodes(container) if not tree.children(node)]
    for node in [*arrays, *plain, *mapped, *named, *inside]:
        size = leaf_kinds.count(node)
        if size is not None:
            return size
    raise ConfigurationError(
        f"modalities: none of the leaves named holds one entry for each example; found are "
        f"{', '.join(map(leaf_kinds.describe, named))}."
    )


def modality_leaves(found: Found, name: str, modality: Modality, size: int) -> list[str]:
    """Return the paths of a modality's leaves; a path to a container stands for all leaves below it.

    Raises:
        ConfigurationError: There is no leaf below one of its paths.
    """
    paths = []
    for given in modality.leaves:
        below = list(_below(found, given, size, named=True))
        if not below:
            raise ConfigurationError(f"modalities[{name!r}]: there is no leaf below {given!r}.")
        paths += below
    return paths


def other_leaves(found: Found, size: int, named: Sequence[str]) -> Iterator[str]:
    """Yield the paths of leaves with an entry for each example that nobody named, nor what holds a named one."""
    ways = [found[path][0] for path in named]

    def search(keys: tree.Keys, node: Any) -> Iterator[str]:
        holds_named = any(way[: len(keys)] == keys for way in ways)
        if keys in ways:
            return
        if not holds_named and _is_leaf(node, size, named=False):
            if leaf_kinds.count(node) == size:
                yield tree.path(keys)
            return
        for key, child in tree.children(node):
            yield from search((*keys, key), child)

    yield from search((), found[""][1])


def require_equal_length(found: Found, paths: Sequence[str], size: int) -> None:
    """Check that leaves hold one entry for each example.

    Raises:
        ConfigurationError: One does not.
    """
    for path in paths:
        leaf = found[path][1]
        length = leaf_kinds.count(leaf)
        if length != size:
            has = "no entry for each example" if length is None else f"{length} entries"
            raise ConfigurationError(
                f"modalities: the leaf {path!r} ({leaf_kinds.describe(leaf)}) has {has}, but the batch holds {size} "
                "examples; every leaf of a modality has the example as its first dimension."
            )


def _below(found: Found, path: str, size: int, *, named: bool) -> Iterator[str]:
    keys, node = found[path]
    if _is_leaf(node, size, named=named):
        if named or leaf_kinds.count(node) is not None:
            yield path
        return
    for key, _ in tree.children(node):
        yield from _below(found, tree.path((*keys, key)), size, named=False)


def _is_leaf(node: Any, size: int, *, named: bool) -> bool:
    """Tell leaves from containers.

    A list of as many tensors as examples is one leaf, a tensor for each. Nobody having named it, it is a container if
    its entries are batches themselves, ``[images, texts]`` of two examples.
    """
    if not tree.children(node):
        return True
    if not _is_plain_list(node) or len(node) != size:
        return False
    return named or not all(leaf_kinds.count(entry) == size for entry in node)


def _is_plain_list(node: Any) -> bool:
    return type(node) in (list, tuple)


def _arrays(container: Any) -> list[Any]:
    """Return what holds examples below mappings and records, without looking into lists of tensors."""
    if _is_plain_list(container) and tree.children(container):
        return []
    children = [child for _, child in tree.children(container)]
    return [container] if not children else [leaf for child in children for leaf in _arrays(child)]
