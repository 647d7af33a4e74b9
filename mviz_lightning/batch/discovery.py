"""Find the leaves of a batch: the nodes that hold one entry per example."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from mviz_lightning.batch import tree
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.rows import describe_leaf, example_count
from mviz_lightning.errors import ConfigurationError

Found: TypeAlias = Mapping[str, tuple[tree.Keys, Any]]
"""Path -> (keys, node) for every node of a batch; the batch itself has the empty path."""


def nodes_by_path(batch: Any) -> Found:
    """Return every node of a batch by path."""
    return {tree.path(keys): (keys, node) for keys, node in tree.nodes(batch)}


def describe_leaves(batch: Any) -> str:
    """List the leaves of a batch with their shapes, for messages: ``image (16, 3, 32, 32), label (16,)``."""
    leaves = [(keys, node) for keys, node in tree.nodes(batch) if keys and not tree.children(node)]
    listed = ", ".join(f"{tree.path(keys)} {describe_leaf(node)}" for keys, node in leaves)
    return listed or f"one {type(batch).__name__} {describe_leaf(batch)}"


def require(argument: str, path: str, found: Found) -> Any:
    """Return the node at a path that the user gave.

    Args:
        argument: Name of the argument, for the error.
        path: The path.
        found: The batch's nodes.

    Raises:
        ConfigurationError: There is no such node; the message lists the leaves that there are.
    """
    if path not in found:
        leaves = describe_leaves(found[""][1])
        raise ConfigurationError(f"{argument}: no leaf {path!r} in the batch; leaves found: {leaves}.")
    return found[path][1]


def batch_size(named: Sequence[Any]) -> int:
    """Return the number of examples in a batch.

    Args:
        named: Nodes that the user named. The first tensor or array decides, else the first list of strings or numbers.
            A list of tensors comes last, since it may hold one tensor per example or several leaves.

    Raises:
        ConfigurationError: No node holds one entry per example.
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


def modality_leaves(found: Found, name: str, modality: Modality, size: int) -> list[str]:
    """Return the paths of a modality's leaves; a path to a container means all leaves below it.

    Args:
        found: The batch's nodes.
        name: Name of the modality, for the error.
        modality: The modality.
        size: Number of examples in the batch.

    Raises:
        ConfigurationError: There is no leaf at or below one of the modality's paths.
    """
    paths = []
    for given in modality.leaves:
        below = list(_below(found, given, size, named=True))
        if not below:
            raise ConfigurationError(
                f"modalities[{name!r}]: there is no leaf below {given!r}; give the path of a leaf."
            )
        paths += below
    return paths


def other_leaves(found: Found, size: int, named: Sequence[str]) -> Iterator[str]:
    """Yield the paths of leaves that the user did not name and that hold one entry per example.

    A container of a named leaf is not a leaf itself.
    """
    ways = [found[path][0] for path in named]

    def search(keys: tree.Keys, node: Any) -> Iterator[str]:
        holds_named = any(way[: len(keys)] == keys for way in ways)
        if keys in ways:
            return
        if not holds_named and _is_leaf(node, size, named=False):
            if example_count(node) == size:
                yield tree.path(keys)
            return
        for key, child in tree.children(node):
            yield from search((*keys, key), child)

    yield from search((), found[""][1])


def require_equal_length(found: Found, paths: Sequence[str], size: int) -> None:
    """Check that leaves hold one entry per example.

    Args:
        found: The batch's nodes.
        paths: Paths of the leaves.
        size: Number of examples in the batch.

    Raises:
        ConfigurationError: A leaf does not.
    """
    for path in paths:
        leaf = found[path][1]
        length = example_count(leaf)
        if length != size:
            has = "no entry per example" if length is None else f"{length} entries"
            raise ConfigurationError(
                f"modalities: the leaf {path!r} ({describe_leaf(leaf)}) has {has}, but the batch holds {size} "
                "examples. Give leaves whose first dimension is the example."
            )


def _below(found: Found, path: str, size: int, *, named: bool) -> Iterator[str]:
    keys, node = found[path]
    if _is_leaf(node, size, named=named):
        if named or example_count(node) is not None:
            yield path
        return
    for key, _ in tree.children(node):
        yield from _below(found, tree.path((*keys, key)), size, named=False)


def _is_leaf(node: Any, size: int, *, named: bool) -> bool:
    """Tell whether a node is a leaf and not a container.

    A list with as many tensors as examples is a leaf with one tensor per example. Exception: a list that the user did
    not name is a container if its entries are batches themselves, for example ``[images, texts]`` of two examples.
    """
    if not tree.children(node):
        return True
    if not _is_plain_list(node) or len(node) != size:
        return False
    return named or not all(example_count(entry) == size for entry in node)


def _is_plain_list(node: Any) -> bool:
    return type(node) in (list, tuple)


def _arrays(container: Any) -> list[Any]:
    """Return the nodes below mappings and dataclasses, without those inside lists of tensors."""
    if _is_plain_list(container) and tree.children(container):
        return []
    children = [child for _, child in tree.children(container)]
    return [container] if not children else [leaf for child in children for leaf in _arrays(child)]
