"""Read nodes of nested containers, and copy containers with other nodes."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from mviz_lightning.batch.registry import container_of

Keys: TypeAlias = tuple[Any, ...]
"""The keys from a batch to a node: mapping keys, positions in a sequence, attribute names."""


def path(keys: Keys) -> str:
    """Return keys as the dotted path that users write: ``("inputs", 0)`` is ``inputs.0``."""
    return ".".join(str(key) for key in keys)


def code(tree: Any, keys: Keys) -> str:
    """Return Python code from a tree to a node: ``["inputs"][0].mel``."""
    if not keys:
        return ""
    key, *rest = keys
    child = dict(children(tree))[key]
    return _step(tree, key, child) + code(child, tuple(rest))


def _step(tree: Any, key: Any, child: Any) -> str:
    if not isinstance(key, str):
        return f"[{key!r}]"
    bracketed = hasattr(type(tree), "__getitem__") and not isinstance(tree, tuple)
    if isinstance(tree, Mapping) or (bracketed and getattr(tree, key, ...) is not child):
        return f"[{json.dumps(key, ensure_ascii=False)}]"
    return f".{key}"


def nodes(tree: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield (keys, node) for every node, a container before its children."""
    yield keys, tree
    for key, child in children(tree):
        yield from nodes(child, (*keys, key))


def leaves(tree: Any) -> Iterator[tuple[Keys, Any]]:
    """Yield (keys, node) for every node without children: those that are no containers, and empty containers."""
    return ((keys, copied(node)) for keys, node in nodes(tree) if not children(node))


def get(tree: Any, keys: Keys) -> Any:
    """Return the node at some keys.

    Raises:
        KeyError: There is no such node.
    """
    for key in keys:
        tree = dict(children(tree))[key]
    return tree


def replace(tree: Any, updates: Mapping[Keys, Any]) -> Any:
    """Return a copy of a tree with other nodes at some keys; all other nodes are shared with the original."""
    if () in updates:
        return updates[()]
    if not updates:
        return tree
    by_key: dict[Any, dict[Keys, Any]] = {}
    for (key, *rest), value in updates.items():
        by_key.setdefault(key, {})[tuple(rest)] = value
    held = dict(children(tree))
    return _rebuilt(tree, {key: replace(held[key], below) for key, below in by_key.items()})


def copied(tree: Any) -> Any:
    """Return a copy of a tree: all containers are new, and all leaves are shared with the original."""
    held = {key: copied(child) for key, child in children(tree)}
    return _rebuilt(tree, held) if held or isinstance(tree, Mapping | list) else tree


def children(node: Any) -> list[tuple[Any, Any]]:
    """Return (key, child) for every child of a container; a leaf has none. Keys may be positions or attribute names."""
    if type(node) is Tensor:  # most nodes; asked millions of times
        return []
    registered = container_of(node)
    return _common_children(node) if registered is None else list(registered.split(node).items())


def _common_children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, PackedSequence):
        return []
    if isinstance(node, Mapping):
        return list(node.items())
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return list(zip(node._fields, node, strict=True))
    if isinstance(node, list | tuple):
        return list(enumerate(node)) if _holds_nodes(node) else []
    if is_dataclass(node) and not isinstance(node, type):
        return [(field.name, getattr(node, field.name)) for field in fields(node)]
    return []


def _holds_nodes(node: list[Any] | tuple[Any, ...]) -> bool:
    """Tell whether a sequence is a container: a list of strings or numbers is a leaf with one entry per example."""
    return not node or not all(isinstance(entry, str | bytes | int | float) for entry in node)


def _rebuilt(node: Any, changed: Mapping[Any, Any]) -> Any:
    registered = container_of(node)
    if registered is not None:
        return registered.join(node, {**registered.split(node), **changed})
    if isinstance(node, tuple):
        entries = [changed.get(key, child) for key, child in children(node)]
        return type(node)(*entries) if hasattr(node, "_fields") else type(node)(entries)
    twin = copy.copy(node)
    for key, value in changed.items():
        if isinstance(node, Mapping | list):
            twin[key] = value
        else:
            object.__setattr__(twin, key, value)  # a dataclass, perhaps a frozen one
    return twin
