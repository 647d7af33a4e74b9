"""Advice for paths into objects of unregistered types."""

from collections.abc import Mapping
from inspect import getattr_static, isroutine
from typing import Any

import numpy as np
from torch import Tensor

from mviz_lightning.batch import tree

SHOWN = 12
"""Largest number of attributes that a message names."""

VALUES = (Tensor, np.ndarray, str, bytes, int, float, complex, list, tuple, Mapping, type(None))
"""Types of nodes that are values or containers and not objects with attributes."""


def advice(found: Mapping[str, Any], path: str) -> str:
    """Return a sentence for a path into an object that is not a container; empty for any other path.

    Args:
        found: Path -> node of the batch.
        path: The path without a node.
    """
    above = [place for place in found if place == "" or path.startswith(f"{place}.")]
    place = max(above, key=len, default="")
    node = found.get(place)
    if isinstance(node, VALUES) or tree.children(node):
        return ""
    where = f"{place!r}" if place else "The batch"
    name = f"{type(node).__module__}.{type(node).__qualname__}"
    held = attribute_names(node)
    listed = f" Its attributes: {', '.join(held[:SHOWN])}{', ...' if len(held) > SHOWN else ''}." if held else ""
    return (
        f" {where} is a {name}, which is not read.{listed} "
        f"mviz_lightning.batch.register({name!r}, split, join) makes it readable; its docstring has an example."
    )


def attribute_names(node: Any) -> list[str]:
    """Return the names of an object's public attributes and properties, not of methods; no property is computed."""
    named = [name for name in dict.fromkeys((*getattr(node, "__dict__", {}), *dir(type(node)))) if name[0] != "_"]
    return [name for name in named if not _is_method(node, name)]


def _is_method(node: Any, name: str) -> bool:
    found = getattr_static(node, name, None)
    return isroutine(found) or isinstance(found, classmethod | staticmethod | type)
