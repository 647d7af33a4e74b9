"""Read nodes of nested containers, and copy containers with other nodes."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mviz_lightning.batch.registry import container_of

Keys: TypeAlias = tuple[Any, ...]
"""The keys from a batch to a node: mapping keys, positions in a sequence, attribute names."""


ALWAYS_LEAVES = frozenset({Tensor, str, bytes, int, float, bool, NoneType})
"""Types of most nodes, without children; they skip the registry, because nodes are visited millions of times."""


@dataclass(frozen=True)
class Pieces:
    """An object of a registered type that is not yet rebuilt.

    Attributes:
        hollow: The object, whose tensors take no memory.
        parts: Its parts by key, which may be anything.
    """

    hollow: Any
    parts: Mapping[Any, Any]


def path(keys: Keys) -> str:
    """Return keys as the dotted path that users write: ``("inputs", 0)`` is ``inputs.0``.

    A key that is a tuple, for example the type of a graph's edges, becomes ``user__buys__item``.
    """
    return ".".join("__".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in keys)


def code(tree: Any, keys: Keys) -> str:
    """Return Python code from a tree to a node: ``["inputs"][0].mel``."""
    if not keys:
        return ""
    key, *rest = keys
    known = dict(children(tree))
    if key not in known:  # a left-out part, whose containers are unknown
        return "".join(map(_bracketed, keys))
    return _step(tree, key, known[key]) + code(known[key], tuple(rest))


def _bracketed(key: Any) -> str:
    return f"[{json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)}]"


def _step(tree: Any, key: Any, child: Any) -> str:
    if isinstance(tree, Pieces):
        return _step(tree.hollow, key, dict(children(tree.hollow)).get(key))
    by_key = isinstance(tree, Mapping) or (
        hasattr(type(tree), "__getitem__") and isinstance(key, str) and not _is_attribute(tree, key, child)
    )
    return _bracketed(key) if by_key or not isinstance(key, str) else f".{key}"


def _is_attribute(node: Any, key: str, child: Any) -> bool:
    """Return whether a child of an object with keys is an attribute; there may be a key of the same name."""
    return isinstance(node, tuple) or getattr(node, key, ...) is child or (hasattr(node, key) and key not in node)


def nodes(tree: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield (keys, node) for every node, a container before its children."""
    yield keys, tree
    for key, child in children(tree):
        yield from nodes(child, (*keys, key))


def leaves(tree: Any) -> Iterator[tuple[Keys, Any]]:
    """Yield (keys, node) for every node without children: nodes that are not containers, and empty containers."""
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
    return _updated(tree, updates, _rebuilt)


def shell(tree: Any, updates: Mapping[Keys, Any]) -> Any:
    """Return a copy of a tree to be filled later, with values at some keys that its objects may not accept.

    Like :func:`replace`, but objects of registered types, which may check their parts, stay in pieces without the
    memory of their tensors. :func:`replace` rebuilds the objects that it changes, :func:`put_together` all objects.
    """
    return _updated(tree, updates, _in_pieces)


def put_together(tree: Any) -> Any:
    """Return a tree in which all objects that :func:`shell` left in pieces are rebuilt."""
    held = [(key, child, put_together(child)) for key, child in children(tree)]
    made = {key: now for key, child, now in held if now is not child}
    return _rebuilt(tree, made) if made or isinstance(tree, Pieces) else tree


def _updated(tree: Any, updates: Mapping[Keys, Any], rebuild: Callable[[Any, Mapping[Any, Any]], Any]) -> Any:
    if () in updates:
        return updates[()]
    if not updates:
        return tree
    by_key: dict[Any, dict[Keys, Any]] = {}
    for (key, *rest), value in updates.items():
        by_key.setdefault(key, {})[tuple(rest)] = value
    held = dict(children(tree))
    return rebuild(tree, {key: _updated(held[key], below, rebuild) for key, below in by_key.items()})


def copied(tree: Any) -> Any:
    """Return a copy of a tree: all containers are new, and all leaves are shared with the original."""
    held = {key: copied(child) for key, child in children(tree)}
    if isinstance(tree, Pieces):
        return Pieces(tree.hollow, held)
    return _rebuilt(tree, held) if held or isinstance(tree, Mapping | list) else tree


def children(node: Any) -> list[tuple[Any, Any]]:
    """Return (key, child) for every child of a container; a leaf has none. Keys may be positions or attribute names."""
    if type(node) in ALWAYS_LEAVES:
        return []
    if type(node) is dict:
        return list(node.items())
    if isinstance(node, Pieces):
        return list(node.parts.items())
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
    """Return whether a sequence is a container: a list of strings or numbers is a leaf with one entry per example."""
    return not node or not all(isinstance(entry, str | bytes | int | float) for entry in node)


def _rebuilt(node: Any, changed: Mapping[Any, Any]) -> Any:
    if isinstance(node, Pieces):
        return _joined(node.hollow, {**node.parts, **changed})
    if container_of(node) is not None:
        return _joined(node, {**dict(children(node)), **changed})
    if isinstance(node, tuple):
        entries = [changed.get(key, child) for key, child in children(node)]
        return type(node)(*entries) if hasattr(node, "_fields") else type(node)(entries)
    twin = copy.copy(node)
    for key, value in changed.items():
        if isinstance(node, Mapping | list):
            twin[key] = value
        else:
            object.__setattr__(twin, key, value)  # works for frozen dataclasses too
    return twin


def _joined(node: Any, parts: Mapping[Any, Any]) -> Any:
    registered = container_of(node)
    return node if registered is None else registered.join(node, parts)


def _in_pieces(node: Any, changed: Mapping[Any, Any]) -> Any:
    if isinstance(node, Pieces):
        return Pieces(node.hollow, {**node.parts, **changed})
    if container_of(node) is None:
        return _rebuilt(node, changed)
    return Pieces(_hollow(node), {**dict(children(node)), **changed})


def _hollow(node: Any) -> Any:
    """Return a node whose tensors and arrays have the same shapes and types, but take no memory."""
    if isinstance(node, Tensor):
        return (
            node
            if is_traceable_wrapper_subclass(node)
            else torch.empty((), dtype=node.dtype, device=node.device).expand(node.shape)
        )
    if isinstance(node, np.ndarray):
        return np.broadcast_to(np.empty((), node.dtype), node.shape)
    held = {key: _hollow(child) for key, child in children(node)}
    try:
        return _rebuilt(node, held) if held else node
    except Exception:
        return node  # it does not accept them, so it is kept unchanged
