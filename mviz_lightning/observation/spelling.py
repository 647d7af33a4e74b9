"""Where a tensor of the step came from, as code for people."""

from collections.abc import Callable
from typing import Any, TypeAlias

from mviz_lightning.batch import tree
from mviz_lightning.observation.provenance import BatchPart, Call, Held, Leaf, Made, Node

LeafCode: TypeAlias = Callable[[tree.Keys], str]
"""The keys of a leaf -> code: ``batch["image"]``."""

OPERATORS = {"sub": "-", "add": "+", "mul": "*", "div": "/", "eq": "==", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
"""Names of operations -> how Python writes them."""

DEEPEST = 3
"""Number of operations around a tensor from which on it is cut short."""

LONGEST = 20
"""Number of characters from which on a constant is cut short."""


def spelled(node: Node, code: LeafCode, *, learned: bool = True, depth: int = 0) -> str:
    """Return the way to a tensor as code, for people: ``self.net(batch["image"], batch["text"])[1]``.

    Args:
        node: The tensor.
        code: The keys of a leaf -> code.
        learned: Whether module calls are spelled.
        depth: Number of operations around it; far inside it is cut short.
    """
    if isinstance(node, Leaf):
        return code(node.keys)
    if depth > DEEPEST:
        return "..."
    if learned and node.results:
        return spelled_call(*node.results[-1], code, depth)
    if isinstance(node, Held):
        return f"self.{node.owner + '.' if node.owner else ''}{node.attribute}"
    return _spelled_operation(node, code, learned, depth) if isinstance(node, Made) else "a tensor of the step"


def spelled_call(call: Call, keys: tree.Keys, code: LeafCode, depth: int = 0) -> str:
    """Return a module call and the place in what it returned as code, for people."""
    owner = type(call.module).__name__ if call.name is None else "self" + (f".{call.name}" if call.name else "")
    positional, named = call.arguments
    given = [_spelled_argument(value, code, depth) for value in positional]
    given += [f"{name}={_spelled_argument(value, code, depth)}" for name, value in named.items()]
    place = "".join(f"[{key!r}]".replace("'", '"') for key in keys)
    return f"{owner}{'.forward' if call.direct else ''}({', '.join(given)}){place}"


def _spelled_operation(node: Made, code: LeafCode, *, learned: bool, depth: int) -> str:
    given = [_spelled_argument(value, code, depth, learned) for value in node.arguments[0]]
    operator = OPERATORS.get(node.name.strip("_"))
    if operator and len(given) == 2:
        return f"{given[0]} {operator} {given[1]}"
    if node.name == "__getitem__" and len(given) == 2:
        return f"{given[0]}[{given[1]}]"
    return f"{given[0] if given else 'torch'}.{node.name}({', '.join(given[1:])})"


def _spelled_argument(value: Any, code: LeafCode, depth: int, *, learned: bool = True) -> str:
    if isinstance(value, Node):
        return spelled(value, code, learned, depth + 1)
    if isinstance(value, BatchPart):
        return code(value.keys)
    if isinstance(value, slice):
        return ":".join("" if part is None else str(part) for part in (value.start, value.stop))
    if isinstance(value, tuple | list):
        return ", ".join(_spelled_argument(one, code, depth, learned) for one in value)
    text = str(value)
    return text if len(text) <= LONGEST else "..."
