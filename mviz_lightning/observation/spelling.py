"""The code that computes a tensor of the step: cut short for people, or whole, to be pasted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.batch import tree
from mviz_lightning.observation.operators import ATOM, OPERATORS, UNARY, enclosed, pure
from mviz_lightning.observation.provenance import BatchPart, Call, Computed, Held, Leaf, Node

LeafCode: TypeAlias = Callable[[tree.Keys], str]
"""The keys of a leaf -> code: ``batch["image"]``."""

Spelled: TypeAlias = tuple[str, int]
"""Code, and the precedence of its outermost operator."""

DEEPEST = 3
"""Largest number of operations around a tensor that is written in full; deeper ones are cut short."""

LONGEST = 20
"""Largest number of characters of a constant that is written in full; longer ones are cut short."""

CUT = "..."
"""Replaces code that is cut short."""


class NotSpellableError(Exception):
    """No code that can be pasted computes a tensor."""


@dataclass(frozen=True)
class Speller:
    """Writes the computation of a tensor as code: ``self.net(batch["image"], batch["text"])[1]``.

    Attributes:
        leaf: Writes a leaf of the batch.
        calls: Whether module calls are written; a target has none.
        model: Name of the user's model in the code.
        whole: Whether the code has to run where it is pasted, with ``import torch``: nothing is cut short.
        picks: Identities of masks and indices of rows that are left out: the code then computes all rows.
    """

    leaf: LeafCode
    calls: bool = True
    model: str = "self"
    whole: bool = False
    picks: frozenset[int] = frozenset()

    def tensor(self, node: Node, depth: int = 0) -> str:
        """Return the code of a tensor; its deep parts are cut short.

        Args:
            node: Where the tensor comes from.
            depth: Number of operations around it.

        Raises:
            NotSpellableError: The code has to be whole, and a tensor in it was made outside PyTorch.
        """
        return self._node(node, depth)[0]

    def call(self, call: Call, keys: tree.Keys, depth: int = 0) -> str:
        """Return the code of a module call, and of the tensor's place in what the call returned."""
        positional, named = call.arguments
        given = self._listed(positional, named, depth)
        places = "".join(f'["{key}"]' if isinstance(key, str) else f"[{key}]" for key in keys)
        return f"{self._module(call)}{'.forward' if call.direct else ''}({given}){places}"

    def _module(self, call: Call) -> str:
        if call.name is not None:
            return self._path(call.name)
        return self._only_for_people(type(call.module).__name__)

    def _path(self, *names: str) -> str:
        """Return the code of what the model holds: ``self.layers[0].weight``."""
        parts = [part for name in names for part in name.split(".") if part]
        return self.model + "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts)

    def _only_for_people(self, text: str) -> str:
        if self.whole:
            raise NotSpellableError(text)
        return text

    def _node(self, node: Node, depth: int) -> Spelled:
        if isinstance(node, Leaf):
            return self.leaf(node.keys), ATOM
        if depth > DEEPEST and not self.whole:
            return CUT, ATOM
        if self.calls and node.results:
            return self.call(*node.results[-1], depth), ATOM
        if isinstance(node, Held):
            return self._path(node.owner, node.attribute), ATOM
        return self._operation(node, depth) if isinstance(node, Computed) else self._foreign()

    def _foreign(self) -> Spelled:
        return self._only_for_people("a tensor of the step"), ATOM

    def _operation(self, node: Computed, depth: int) -> Spelled:
        positional, named = node.arguments
        name = pure(node.name)
        if named or name not in (OPERATORS, UNARY)[len(positional) == 1]:
            return self._function(node, name, depth), ATOM
        if name in UNARY:
            operator = UNARY[name]
            return operator.symbol + enclosed(self._argument(positional[0], depth), operator.binds), operator.binds
        operator = OPERATORS[name]
        left, right = (self._argument(value, depth) for value in operator.ordered(positional))
        code = f"{enclosed(left, operator.binds)} {operator.symbol} {enclosed(right, operator.binds + 1)}"
        return code, operator.binds

    def _function(self, node: Computed, name: str, depth: int) -> str:
        """Return the code of an operation without an operator; with an index if it returns several tensors."""
        positional, named = node.arguments
        places = "".join(f"[{key!r}]" for key in node.keys)
        if not positional or not _is_method(node, name):
            return f"{self._free(node)}({self._listed(positional, named, depth)}){places}"
        owner = enclosed(self._argument(positional[0], depth), ATOM)
        if name == "getitem" and id(positional[1]) in self.picks:
            return owner
        if name == "getitem":
            return f"{owner}[{self._index(positional[1], depth)}]"
        if getattr(node.function, "__name__", "") == "__get__":
            return f"{owner}.{name}"
        if name == "setitem":
            return self._only_for_people(owner)
        return f"{owner}.{name}({self._listed(positional[1:], named, depth)}){places}"

    def _free(self, node: Computed) -> str:
        """Return the name of a function that is no method of tensors."""
        for home, found in (("torch", torch), ("torch.linalg", torch.linalg)):
            if hasattr(found, node.name):
                return f"{home}.{node.name}"
        if hasattr(functional, node.name):
            return f"{'torch.nn.' if self.whole else ''}functional.{node.name}"
        return self._only_for_people(node.name)

    def _listed(self, positional: Any, named: Any, depth: int) -> str:
        given = [self._argument(value, depth)[0] for value in positional]
        return ", ".join([*given, *(f"{name}={self._argument(value, depth)[0]}" for name, value in named.items())])

    def _index(self, value: Any, depth: int) -> str:
        if not isinstance(value, tuple):
            return self._argument(value, depth)[0]
        return ", ".join(self._argument(one, depth)[0] for one in value) or "()"

    def _argument(self, value: Any, depth: int) -> Spelled:
        if isinstance(value, Node):
            return self._node(value, depth + 1)
        if isinstance(value, BatchPart):
            return self.leaf(value.keys), ATOM
        if isinstance(value, slice):
            parts = (value.start, value.stop) if value.step is None else (value.start, value.stop, value.step)
            return ":".join("" if part is None else self._argument(part, depth)[0] for part in parts), ATOM
        if isinstance(value, list | tuple):
            inside = ", ".join(self._argument(one, depth)[0] for one in value)
            return (f"[{inside}]" if isinstance(value, list) or len(value) != 1 else f"({inside},)"), ATOM
        if isinstance(value, dict):
            return "{" + ", ".join(
                f"{key!r}: {self._argument(one, depth)[0]}" for key, one in value.items()
            ) + "}", ATOM
        return self._constant(value)

    def _constant(self, value: Any) -> Spelled:
        if value is Ellipsis:
            return CUT, ATOM
        known = value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device)
        text = f"torch.{value!r}" if isinstance(value, torch.device) else repr(value)
        if not known:
            return self._only_for_people(text if len(text) <= LONGEST else CUT), ATOM
        binds = UNARY["neg"].binds if isinstance(value, int | float) and text.startswith("-") else ATOM
        return text if self.whole or len(text) <= LONGEST else CUT, binds


def _is_method(node: Computed, name: str) -> bool:
    """Return whether an operation is called on its first argument, a tensor: ``x.softmax(1)``."""
    return isinstance(node.arguments[0][0], Node) and (
        name in ("getitem", "setitem") or getattr(node.function, "__name__", "") == "__get__" or hasattr(Tensor, name)
    )
