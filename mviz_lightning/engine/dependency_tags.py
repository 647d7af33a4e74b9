"""Tag every tensor in a forward with the leaves that it depends on, operation by operation."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, TypeAlias

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mviz_lightning.batch import tree

Tags: TypeAlias = int
"""A set of leaves as bits: bit k is 1 if a tensor depends on leaf k. 0: the tensor depends on no leaf."""

ESCAPES = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__})
"""Methods that hand a tensor's values to code outside torch without running a torch operation."""

Listener: TypeAlias = Callable[[frozenset[Tags], Any, int, Any], None]
"""Called after an operation with the tags of its inputs, the operation, its cost and its outputs."""


@dataclass(frozen=True)
class Operation:
    """An operation that was run.

    Attributes:
        func: The operation.
        args: Its arguments.
        kwargs: Its named arguments.
        outputs: What it returned.
    """

    func: Any
    args: Any
    kwargs: Any
    outputs: Any

    @property
    def cost(self) -> int:
        """Its approximate cost: its floating-point operations plus the numbers it reads and writes."""
        count = flop_registry.get(self.func._overloadpacket)
        operations = count(*self.args, **self.kwargs, out_val=self.outputs) if count is not None else 0
        return operations + sum(tensor.numel() for tensor in tensors_in((self.args, self.kwargs, self.outputs)))

    @cached_property
    def changed(self) -> list[Any]:
        """The arguments that it writes to; it does not return all of them."""
        declared = self.func._schema.arguments
        given = dict(zip((argument.name for argument in declared), self.args, strict=False)) | self.kwargs
        writes = (a.name for a in declared if a.alias_info is not None and a.alias_info.is_write)
        return [given[name] for name in writes if name in given]


class EscapeMode(TorchFunctionMode):
    """Report the tensors whose values leave torch; operations outside torch cannot be traced.

    Args:
        report: Called with every such tensor.
    """

    def __init__(self, report: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._report = report

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function that was called."""
        if func in ESCAPES:
            self._report(args[0])
        return func(*args, **(kwargs or {}))


class DependencyMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Pass the tags of an operation's inputs on to its outputs.

    Tags belong to storages, so that views and in-place changes are followed too.

    Args:
        untracked: Tags of a tensor that no traced operation made; its values may come from outside torch.

    Attributes:
        inside: Tag that is added to every tensor with tags while a replayed call runs; 0 outside such calls.
        listeners: Functions that are called after every operation on tensors with tags.
    """

    def __init__(self, untracked: Tags = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._untracked, self.inside = untracked, 0
        self._tags: dict[int, Tags] = {}
        self._kept: list[Any] = []  # an address identifies a storage only while the storage exists
        self.listeners: list[Listener] = []

    def mark(self, tensor: Tensor, tags: Tags) -> None:
        """Set the tags of a tensor's storage."""
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._tags[storage._cdata] = tags

    def of(self, value: Any) -> Tags:
        """Return the tags of all tensors anywhere in a value."""
        return union(map(self.of_tensor, tensors_in(value)))

    def of_tensor(self, tensor: Tensor) -> Tags:
        """Return the tags of a tensor."""
        return self.of_storage(tensor)

    def of_storage(self, tensor: Tensor) -> Tags:
        """Return the tags of a tensor's storage."""
        return self._tags.get(tensor.untyped_storage()._cdata, self._untracked)

    def add(self, tensor: Tensor, tags: Tags) -> None:
        """Add tags to a tensor's storage: for a view, or after a write in place."""
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._tags[storage._cdata] = tags | self._tags.get(storage._cdata, 0)

    def escape(self, tags: Tags) -> None:
        """Add tags to all untracked tensors: values with these tags have left torch and may come back."""
        self._untracked |= tags

    @contextmanager
    def inside_call(self, tag: Tags) -> Iterator[None]:
        """Add a tag to all tensors with tags that are made inside the block."""
        outer, self.inside = self.inside, tag
        try:
            yield
        finally:
            self.inside = outer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and tag what it wrote."""
        given = frozenset(map(self.of_tensor, tensors_in((args, kwargs or {}))))
        tags = union(given)
        outputs = func(*args, **(kwargs or {}))
        operation = Operation(func, args, kwargs or {}, outputs)
        made = self.passed_on(operation, tags) | self.inside if tags else 0
        for tensor in tensors_in((outputs, operation.changed)):
            self.add(tensor, made)
        if tags:
            for listen in self.listeners:
                listen(given, func, operation.cost, outputs)
        return outputs

    def passed_on(self, operation: "Operation", tags: Tags) -> Tags:
        """Return the tags that an operation passes on to the storages that it writes.

        Args:
            operation: The operation.
            tags: Tags of its inputs.
        """
        return tags


def union(tags: Iterable[Tags]) -> Tags:
    """Return the union of several sets of leaves."""
    return reduce(int.__or__, tags, 0)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors anywhere in a nested value."""
    for _, node in tree.nodes(value):
        if isinstance(node, Tensor):
            yield node
        elif isinstance(node, PackedSequence):
            yield from (part for part in node if isinstance(part, Tensor))
