"""Where each tensor of a step came from: leaves of the batch, weights, module calls, operations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mviz_lightning.batch import tree
from mviz_lightning.engine.dependency_tags import Tags, union

ESCAPES = {"item", "tolist", "numpy", "__int__", "__float__", "__index__", "__array__"}
"""Operations whose results leave PyTorch."""

SHAPED = {
    *("ones_like", "zeros_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like"),
    *("new_ones", "new_zeros", "new_full", "new_empty", "new_tensor"),
}
"""Operations that take the shape of their operand and none of its values."""


@dataclass(eq=False)
class Node:
    """Where one tensor came from. It holds other nodes, never a tensor.

    Attributes:
        tags: The batch's leaves that reached the tensor.
        learned: Whether it came through a weight.
        shape: The tensor's shape.
        results: The module calls that returned the tensor, the innermost first, and the keys from what they returned.
    """

    tags: Tags = 0
    learned: bool = False
    shape: tuple[int, ...] = ()
    results: list[tuple["Call", tree.Keys]] = field(default_factory=list)

    @property
    def inputs(self) -> list["Node"]:
        """The nodes that this one was made from."""
        return []

    def returned_by(self, call: "Call", keys: tree.Keys, *, learned: bool) -> None:
        """Note that a module call returned the tensor.

        Args:
            call: The call.
            keys: The keys from what it returned to the tensor.
            learned: Whether the call computed the tensor with weights.
        """
        self.learned |= learned
        self.results.append((call, keys))


@dataclass(eq=False)
class Leaf(Node):
    """A leaf of the batch, or a constant in the batch.

    Attributes:
        keys: The keys from the batch to the leaf.
    """

    keys: tree.Keys = ()


@dataclass(eq=False)
class Held(Node):
    """A weight, a buffer, or another tensor that a module holds.

    Attributes:
        owner: Name of the module: ``encoder.0``.
        attribute: Name of the module's attribute.
    """

    owner: str = ""
    attribute: str = ""


@dataclass(eq=False)
class Foreign(Node):
    """A tensor that was made before the step or outside PyTorch: a constant of the step, or from a NumPy array."""


@dataclass(eq=False)
class Computed(Node):
    """What an operation returned.

    Attributes:
        function: The operation.
        arguments: Positional and named arguments, with nodes in place of tensors.
        keys: The keys from what the operation returned to the tensor: the second of a tuple.
        within: The innermost module call in which the operation ran.
        after: Number of values that had left PyTorch before it ran, ``.item()`` for example.
    """

    function: Callable[..., Any] = print
    arguments: tuple[Any, Any] = ((), {})
    keys: tree.Keys = ()
    within: "Call | None" = None
    after: int = 0

    @property
    def name(self) -> str:
        """The operation's name: ``add``."""
        return name_of(self.function)

    @property
    def inputs(self) -> list[Node]:
        """The nodes among the arguments."""
        return list(nodes_in(self.arguments))


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        module: The module.
        name: Its name in the user's model; ``""`` for the model itself, None if it is no part of it.
        arguments: Positional and named arguments, with nodes in place of tensors.
        within: The module call around it.
        after: Number of values that had left PyTorch before it began.
        direct: Whether ``forward`` was called directly, and not the module.
        ordinal: Number of calls of this module before it.
    """

    module: nn.Module
    name: str | None
    arguments: tuple[Any, Any] = ((), {})
    within: "Call | None" = None
    after: int = 0
    direct: bool = False
    ordinal: int = 0

    def give_named(self, arguments: Any) -> None:
        """Add the named arguments, which hooks show only after the call."""
        self.arguments = (self.arguments[0], arguments)


@dataclass(frozen=True)
class BatchPart:
    """The batch, or a container in it, passed on as it is.

    Attributes:
        keys: The keys from the batch to it.
    """

    keys: tree.Keys


INTERNED = (str, bytes, int, float, type(None))
"""Types of values that Python may share, so that their identity does not show where they come from."""


class Provenance:
    """The nodes of all tensors that exist."""

    def __init__(self) -> None:
        self._nodes = WeakTensorKeyDictionary()
        self._sources = WeakTensorKeyDictionary()

    def of(self, tensor: Tensor) -> Node:
        """Return a tensor's node; that of an unknown tensor is :class:`Foreign`."""
        node: Node | None = self._nodes[tensor] if tensor in self._nodes else None  # noqa: SIM401 - get is not typed
        if node is None:
            node = Foreign(shape=tuple(tensor.shape), learned=isinstance(tensor, nn.Parameter))
            self._nodes[tensor] = node
        return node

    def known(self, tensor: Tensor) -> bool:
        """Return whether a tensor was seen before."""
        return tensor in self._nodes

    def put(self, tensor: Tensor, node: Node) -> None:
        """Set where a tensor comes from, which an in-place operation may have changed."""
        self._nodes[tensor] = node

    def keep(self, made: Tensor, source: Tensor) -> None:
        """Keep a tensor in memory as long as a view of it, ``made``, exists."""
        self._sources[made] = source

    def source(self, made: Tensor) -> Tensor | None:
        """Return the tensor that :meth:`keep` kept for this one."""
        found: Tensor | None = self._sources[made] if made in self._sources else None  # noqa: SIM401 - get is not typed
        return found

    def template(self, value: Any, parts: "BatchParts") -> Any:
        """Return arguments of an operation or of a module with nodes in place of tensors."""
        if isinstance(value, Tensor):
            return self.of(value)
        keys = parts.keys(value)
        if keys is not None:
            return BatchPart(keys)
        made = {(key,): self.template(child, parts) for key, child in tree.children(value)}
        return tree.shell(value, made) if made else value


class BatchParts:
    """The containers of a batch, and its leaves that are no tensors, identified as objects.

    Args:
        batch: The batch.
    """

    def __init__(self, batch: Any) -> None:
        parts = [(keys, node) for keys, node in tree.nodes(batch) if not isinstance(node, (Tensor, *INTERNED))]
        self._kept = [node for _, node in parts]  # an identity is unique only while the object exists
        self._keys = {id(node): keys for keys, node in parts}
        self._children = {id(node): _child_keys(node) for node in self._kept}

    def keys(self, value: Any) -> tree.Keys | None:
        """Return the keys of a part of the batch; None for any other value, and for a part that was changed."""
        if id(value) not in self._keys or _child_keys(value) != self._children[id(value)]:
            return None
        return self._keys[id(value)]


def _child_keys(node: Any) -> list[Any]:
    return [key for key, _ in tree.children(node)]


def nodes_in(value: Any) -> Iterator[Node]:
    """Yield all nodes in a template of arguments."""
    if isinstance(value, Node):
        yield value
        return
    for _, child in tree.children(value):
        yield from nodes_in(child)


def reached_by(nodes: Sequence[Node]) -> tuple[Tags, bool]:
    """Return the leaves that reached any of some tensors, and whether one of these came through a weight."""
    return union(node.tags for node in nodes), any(node.learned for node in nodes)


def ancestors(node: Node) -> Iterator[Node]:
    """Yield a node and all nodes that it was made from, each once."""
    waiting, seen = [node], {id(node)}
    while waiting:
        found = waiting.pop()
        yield found
        for before in found.inputs:
            if id(before) not in seen:
                seen.add(id(before))
                waiting.append(before)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of an operation; for a property, the name of the property."""
    name = str(getattr(function, "__name__", function))
    return str(getattr(getattr(function, "__self__", None), "__name__", name)) if name == "__get__" else name
