"""Objects of plain classes: namespaces, and batches of one's own whose attributes hold tensors."""

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
"""Largest number of attributes of a batch; configurations and tools, which nobody meant to be one, have more."""

MOST_NODES = 1000
"""Largest number of nodes below an attribute; more take longer to search than a batch may."""

TOOLS = {
    *sys.stdlib_module_names,
    *("torch", "numpy", "lightning", "pytorch_lightning", "torchmetrics", "transformers", "tokenizers", "PIL"),
    *("pandas", "omegaconf", "hydra", "mviz_lightning"),
}
"""Packages whose classes are tools and values of their own, and not batches; nor are classes that inherit from them."""

NEUTRAL = {object, ABC, Generic, Protocol, SimpleNamespace, *Namespace.__mro__}
"""Bases that a batch may have, although they are of these packages."""


def is_plain(cls: type) -> bool:
    """Return whether objects of a class are containers of their attributes.

    Strings, numbers, paths, modules, tensors, arrays, pictures, errors, enumerations and what inherits from them are no
    containers, nor is what can be called, a tokenizer for example.
    """
    tools = [base for base in cls.__mro__ if base not in NEUTRAL and base.__module__.partition(".")[0] in TOOLS]
    acts = {"__call__", "__next__", "__fspath__"}.intersection(name for base in cls.__mro__ for name in vars(base))
    return cls not in {object, ABC, Generic, Protocol} and not (tools or acts or is_dataclass(cls))


def public_attributes(value: Any) -> Mapping[str, Any]:
    """Return the public attributes of an object, without those that lead back to it."""
    held = dict(_public(value))
    if len(held) > MOST_ATTRIBUTES:
        return {}
    return {name: part for name, part in held.items() if _ends(part, value)}


def with_public_attributes(value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a shallow copy of an object with other attributes."""
    twin = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(twin, name, part)  # it may be frozen
    return twin


def _public(value: Any) -> Iterator[tuple[str, Any]]:
    slots = (getattr(base, "__slots__", ()) for base in type(value).__mro__)
    named = [name for one in slots for name in ([one] if isinstance(one, str) else one)]
    for name in dict.fromkeys([*named, *getattr(value, "__dict__", {})]):
        if not name.startswith("_") and hasattr(value, name):
            yield name, getattr(value, name)


def _ends(part: Any, origin: Any) -> bool:
    """Return whether the nodes below an attribute are few, and its object is not among them."""
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
    """Return all children of a node, also those that lead back to it."""
    registered = container_of(node)
    return list(_public(node)) if registered and registered.splitter is public_attributes else tree.children(node)


def register_objects() -> None:
    """Register objects of plain classes."""
    register(ClassTest(is_plain), public_attributes, with_public_attributes)
