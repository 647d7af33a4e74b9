"""Tag every tensor in a forward with the leaves that it depends on, operation by operation."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any, TypeAlias

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mviz_lightning.batch import tree

Tags: TypeAlias = int
"""A set of leaves as bits: bit k is 1 if a tensor depends on leaf k. 0 is a tensor that depends on no leaf."""

ESCAPES = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__})
"""Methods that hand a tensor's values to code outside torch without running a torch operation."""

Listener: TypeAlias = Callable[[frozenset[Tags], Any, int, Any], None]
"""Called after an operation with the tags of its inputs, the operation, its cost and its outputs."""


class EscapeMode(TorchFunctionMode):
    """Report the tensors whose values leave torch, where no operation can be traced.

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
        inside: Tag that every tensor with tags gets beside its own while a replayed call runs; 0 outside such calls.
        listeners: Functions that are called after every operation on tensors with tags.
    """

    def __init__(self, untracked: Tags = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._untracked, self.inside = untracked, 0
        self._tags: dict[int, Tags] = {}
        self._kept: list[Any] = []  # a storage's address identifies it only while it lives
        self.listeners: list[Listener] = []

    def mark(self, tensor: Tensor, tags: Tags) -> None:
        """Set the tags of a tensor's storage."""
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._tags[storage._cdata] = tags

    def of(self, value: Any) -> Tags:
        """Return the tags of all tensors anywhere in a value."""
        return union(self._tags.get(tensor.untyped_storage()._cdata, self._untracked) for tensor in tensors_in(value))

    def escape(self, tags: Tags) -> None:
        """Add to the tags of untracked tensors: values with these tags have left torch and may come back."""
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
        given = frozenset(self.of(tensor) for tensor in tensors_in((args, kwargs or {})))
        tags = union(given)
        outputs = func(*args, **(kwargs or {}))
        made = tags | self.inside if tags else 0
        for tensor in tensors_in((outputs, _changed_arguments(func, args, kwargs or {}))):
            before = self._tags.get(tensor.untyped_storage()._cdata, 0)  # a view, or written in place
            self.mark(tensor, made | before)
        if tags:
            for listen in self.listeners:
                listen(given, func, _cost(func, args, kwargs or {}, outputs), outputs)
        return outputs


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


def _cost(func: Any, args: Any, kwargs: Any, outputs: Any) -> int:
    """Return an operation's approximate cost: its floating-point operations plus the numbers it reads and writes."""
    count = flop_registry.get(func._overloadpacket)
    operations = count(*args, **kwargs, out_val=outputs) if count is not None else 0
    return operations + sum(tensor.numel() for tensor in tensors_in((args, kwargs, outputs)))


def _changed_arguments(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """Return the arguments that an operation writes to: it does not return all of them."""
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    writes = (a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    return [given[name] for name in writes if name in given]
