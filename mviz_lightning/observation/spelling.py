"""Where a tensor of the step came from, as code for people."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Speller:
    """Spells the way to a tensor as code: ``self.net(batch["image"], batch["text"])[1]``.

    Attributes:
        leaf: Spells a leaf of the batch.
        calls: Whether module calls are spelled; a target has none.
        model: What the user's model is called.
    """

    leaf: LeafCode
    calls: bool = True
    model: str = "self"

    def tensor(self, node: Node, depth: int = 0) -> str:
        """Return the code of a tensor; far inside it is cut short.

        Args:
            node: Where the tensor comes from.
            depth: Number of operations around it.
        """
        if isinstance(node, Leaf):
            return self.leaf(node.keys)
        if depth > DEEPEST:
            return "..."
        if self.calls and node.results:
            return self.call(*node.results[-1], depth)
        if isinstance(node, Held):
            return ".".join(filter(None, [self.model, node.owner, node.attribute]))
        return self._operation(node, depth) if isinstance(node, Made) else "a tensor of the step"

    def call(self, call: Call, keys: tree.Keys, depth: int = 0) -> str:
        """Return the code of a module call and of the place in what it returned."""
        owner = type(call.module).__name__ if call.name is None else ".".join(filter(None, [self.model, call.name]))
        positional, named = call.arguments
        given = [self._argument(value, depth) for value in positional]
        given += [f"{name}={self._argument(value, depth)}" for name, value in named.items()]
        places = "".join(f'["{key}"]' if isinstance(key, str) else f"[{key}]" for key in keys)
        return f"{owner}{'.forward' if call.direct else ''}({', '.join(given)}){places}"

    def _operation(self, node: Made, depth: int) -> str:
        given = [self._argument(value, depth) for value in node.arguments[0]]
        operator = OPERATORS.get(node.name.strip("_"))
        if operator and len(given) == 2:
            return f"{given[0]} {operator} {given[1]}"
        if node.name == "__getitem__" and len(given) == 2:
            return f"{given[0]}[{given[1]}]"
        return f"{given[0]}.{node.name}({', '.join(given[1:])})" if given else f"torch.{node.name}(...)"

    def _argument(self, value: Any, depth: int) -> str:
        if isinstance(value, Node):
            return self.tensor(value, depth + 1)
        if isinstance(value, BatchPart):
            return self.leaf(value.keys)
        if isinstance(value, slice):
            return ":".join("" if part is None else str(part) for part in (value.start, value.stop))
        if isinstance(value, tuple | list):
            return ", ".join(self._argument(one, depth) for one in value)
        text = str(value)
        return text if len(text) <= LONGEST else "..."
