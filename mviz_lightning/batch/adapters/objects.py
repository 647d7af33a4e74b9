"""Objects of plain classes: namespaces, and user-defined batches with tensors as attributes."""

import copy
import sys
from abc import ABC
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any, Generic, Protocol

from mviz_lightning.batch import tree
from mviz_lightning.batch.registry import ClassTest, container_of, register

MOST_ATTRIBUTES = 64
"""Largest number of attributes of a batch; configurations and tools, which are no batches, often have more."""

MOST_NODES = 1000
"""Largest number of nodes below an attribute; a search through more would slow down every batch."""

TOOLS = {
    *sys.stdlib_module_names,
    *("torch", "numpy", "lightning", "pytorch_lightning", "torchmetrics", "transformers", "tokenizers", "PIL"),
    *("pandas", "omegaconf", "hydra", "mviz_lightning"),
}
"""Packages whose classes, and classes that inherit from them, are tools or values and not batches."""

NEUTRAL = {object, ABC, Generic, Protocol, SimpleNamespace, *Namespace.__mro__}
"""Base classes from the packages of :data:`TOOLS` that the class of a batch may have."""


def is_plain(cls: type) -> bool:
    """Return whether objects of a class are containers of their attributes.

    Strings, numbers, paths, modules, tensors, arrays, pictures, errors, enumerations and classes that inherit from them
    are not containers. Callable objects, such as tokenizers, are not containers either.
    """
    tools = [base for base in cls.__mro__ if base not in NEUTRAL and base.__module__.partition(".")[0] in TOOLS]
    acts = {"__call__", "__next__", "__fspath__"}.intersection(name for base in cls.__mro__ for name in vars(base))
    return cls not in {object, ABC, Generic, Protocol} and not (tools or acts or is_dataclass(cls))


def public_attributes(value: Any) -> Mapping[str, Any]:
    """Return the public attributes of an object, without attributes that refer back to it."""
    held = dict(_public(value))
    if len(held) > MOST_ATTRIBUTES:
        return {}
    return {name: part for name, part in held.items() if _ends(part, value)}


def with_public_attributes(value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a shallow copy of an object with other attributes."""
    twin = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(twin, name, part)  # works for frozen objects too
    return twin


def _public(value: Any) -> Iterator[tuple[str, Any]]:
    slots = (getattr(base, "__slots__", ()) for base in type(value).__mro__)
    named = [name for one in slots for name in ([one] if isinstance(one, str) else one)]
    for name in dict.fromkeys([*named, *getattr(value, "__dict__", {})]):
        if not name.startswith("_") and hasattr(value, name):
            yield name, getattr(value, name)


def _ends(part: Any, origin: Any) -> bool:
    """Return whether an attribute has at most ``MOST_NODES`` nodes below it, without its own object."""
    waiting, seen = [part], {id(origin): origin}
    while waiting:
        node = waiting.pop()
        if node is origin or len(seen) > MOST_NODES:
            return False
        if id(node) not in seen:
            seen[id(node)] = node
            waiting += [child for _, child in _below(node)]
    return True


def _below(node: Any) -> list[tuple[Any, Any]]:
    """Return all children of a node, also those that refer back to it."""
    registered = container_of(node)
    return list(_public(node)) if registered and registered.splitter is public_attributes else tree.children(node)


def register_objects() -> None:
    """Register objects of plain classes."""
    register(ClassTest(is_plain), public_attributes, with_public_attributes)
