"""Follow which leaves of a batch every tensor in a forward depends on, and which modules see one modality alone."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mviz_lightning.batch import tree

CallKey: TypeAlias = tuple[str, int]
"""A module's name, and which of its calls in one forward."""

Tags: TypeAlias = int
"""A bit for every leaf that a tensor depends on."""


JOINTS = frozenset({torch.ops.aten.cat, torch.ops.aten.stack})
"""Operations that put tensors beside one another, without an effect of one on the other."""

ESCAPES = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__})
"""Ways out of torch for which no operation is run."""


class _Escapes(TorchFunctionMode):
    """Says which tensors leave torch's sight.

    Args:
        listen: Is told.
    """

    def __init__(self, listen: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._listen = listen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run what was called."""
        if func in ESCAPES:
            self._listen(args[0])
        return func(*args, **(kwargs or {}))


class DependencyMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands the tags of an operation's inputs on to its outputs, by storage, so that views and in-place edits count.

    Args:
        stranger: Tags of a tensor that no operation made: it came from outside of torch's sight.

    Attributes:
        stranger: The same; they grow by what leaves torch's sight.
        within: Tags of all that is made now of what has tags.
    """

    def __init__(self, stranger: Tags = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stranger, self.within = stranger, 0
        self._tags: dict[int, Tags] = {}
        self._kept: list[Any] = []  # a storage's address is its name while it lives
        self.listeners: list[Callable[[frozenset[Tags], Any, int, Any], None]] = []

    def mark(self, tensor: Tensor, tags: Tags) -> None:
        """Say what a tensor depends on."""
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._tags[storage._cdata] = tags

    def of(self, value: Any) -> Tags:
        """Return what the tensors anywhere in a value depend on."""
        return union(self._tags.get(tensor.untyped_storage()._cdata, self.stranger) for tensor in tensors(value))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and tag what it wrote."""
        given = frozenset(self.of(tensor) for tensor in tensors((args, kwargs or {})))
        tags = union(given)
        outputs = func(*args, **(kwargs or {}))
        made = tags | self.within if tags else 0
        for tensor in tensors((outputs, _written(func, args, kwargs or {}))):
            before = self._tags.get(tensor.untyped_storage()._cdata, 0)  # a view, or written in place
            self.mark(tensor, made | before)
        if tags:
            for listen in self.listeners:
                listen(given, func, work(func, args, kwargs or {}, outputs), outputs)
        return outputs


def union(tags: Iterable[Tags]) -> Tags:
    """Return what all of them stand for."""
    return reduce(int.__or__, tags, 0)


def work(func: Any, args: Any, kwargs: Any, outputs: Any) -> int:
    """Return about how much an operation has to do: its floating-point operations and the numbers that it touches."""
    count = flop_registry.get(func._overloadpacket)
    operations = count(*args, **kwargs, out_val=outputs) if count is not None else 0
    return operations + sum(tensor.numel() for tensor in tensors((args, kwargs, outputs)))


def _written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """Return the arguments that an operation writes to: not all of them are returned."""
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    writes = (a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    return [given[name] for name in writes if name in given]


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors anywhere in a value."""
    for _, node in tree.nodes(value):
        if isinstance(node, Tensor):
            yield node
        elif isinstance(node, PackedSequence):
            yield from (part for part in node if isinstance(part, Tensor))


@dataclass
class Frame:
    """One call of a module.

    Attributes:
        key: Which.
        parent: The call that it was made in; None right below the model.
        inputs: What its arguments depend on.
        seen: What the operations inside depend on.
        edits: Whether it changed an argument in place.
        outputs: What it returned.
        tags: What that depends on.
    """

    key: CallKey
    parent: CallKey | None
    inputs: Tags = 0
    seen: Tags = 0
    edits: bool = False
    outputs: Any = None
    tags: Tags = 0


@dataclass
class Trace:
    """Everything that happened in one forward."""

    frames: dict[CallKey, Frame] = field(default_factory=dict)
    outputs: Tags = 0
    meetings: set[frozenset[Tags]] = field(default_factory=set)
    """For every operation that computes, what each of its inputs depends on."""
    work: int = 0
    """Of all operations on what depends on leaves, outside of replayed calls."""
    largest: int = 0
    """Bytes of the largest tensor that depends on leaves and that an operation made."""
    decisive: Tags = 0
    """What decides, outside of replayed calls, on shapes or on the way of the computation."""
    replayed: dict[tuple[CallKey, tree.Keys], Tags] = field(default_factory=dict)
    """The bit that stands for a tensor which a replayed call returned."""
    within: dict[CallKey, Tags] = field(default_factory=dict)
    """The bit that stands for what a replayed call made and did not return: attributes that it set, say."""


Wrap: TypeAlias = Callable[[CallKey, Callable[..., Any]], Callable[..., Any]]
"""From a call's key and the module's forward to what is called instead."""


@contextmanager
def wrapped(module: nn.Module, wrap: Wrap, names: Container[str] | None = None) -> Iterator[None]:
    """Put a function around the calls of submodules, for one forward.

    Args:
        module: The model.
        wrap: The function.
        names: Of the submodules; all by default.
    """
    counts: dict[str, int] = {}

    def around(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            key = (name, counts.get(name, 0))
            counts[name] = key[1] + 1
            return wrap(key, original)(*args, **kwargs)

        return forward

    before = {}
    for name, child in module.named_modules():
        if name and (names is None or name in names) and not isinstance(child, torch.jit.ScriptModule):
            before[name] = (child, vars(child).get("forward"))
            vars(child)["forward"] = around(name, child.forward)
    try:
        yield
    finally:
        for child, forward in before.values():
            if forward is None:
                vars(child).pop("forward", None)
            else:
                vars(child)["forward"] = forward


def trace(
    module: nn.Module,
    run: Callable[[], Any],
    leaves: Mapping[str, Any],
    replayed: Container[CallKey] = (),
    stranger: Tags = 0,
) -> Trace:
    """Run a forward and follow its tensors.

    Args:
        module: The model.
        run: Calls it and returns its outputs.
        leaves: The batch that it is called with, by path; leaf k is bit k.
        replayed: Calls whose outputs are taken to depend on nothing but themselves, a bit for each beyond the leaves'.
        stranger: Tags of tensors that neither torch nor the model made.
    """
    tracer = _Tracer(replayed, stranger, len(leaves) + 1)
    for tensor in chain(module.parameters(), module.buffers()):
        tracer.taint.mark(tensor, 0)
    for bit, leaf in enumerate(leaves.values()):
        for tensor in tensors(leaf):
            tracer.taint.mark(tensor, 1 << bit | tracer.taint.of(tensor) & ~stranger)
    with wrapped(module, tracer.wrap), _Escapes(tracer.escaped), tracer.taint:
        outputs = run()
    tracer.found.outputs = tracer.taint.of(outputs)
    return tracer.found


class _Tracer:
    """Notes for every call what it sees, while it runs."""

    def __init__(self, replayed: Container[CallKey], stranger: Tags, free: int) -> None:
        self.found, self.taint = Trace(), DependencyMode(stranger)
        self._replayed, self._free = replayed, free
        self._stack: list[Frame] = []
        self.taint.listeners.append(self._listen)

    def _listen(self, given: frozenset[Tags], func: Any, amount: int, outputs: Any) -> None:
        tags = union(given)
        if func._overloadpacket not in JOINTS:
            self.found.meetings.add(given)
        for frame in self._stack:
            frame.seen |= tags
        self.found.largest = max(self.found.largest, *(tensor.nbytes for tensor in tensors(outputs)), 0)
        if self.taint.within:
            return
        self.found.work += amount
        if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            self.found.decisive |= tags

    def escaped(self, tensor: Tensor) -> None:
        """Note that what comes from outside of torch from now on may hold this."""
        tags = self.taint.of(tensor)
        self.taint.stranger |= tags
        for frame in self._stack:
            frame.seen |= tags
        if not self.taint.within:
            self.found.decisive |= tags

    def wrap(self, key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the module's forward with a frame around it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            given = list(tensors((args, kwargs)))
            versions = [tensor._version for tensor in given]
            frame = Frame(key, self._stack[-1].key if self._stack else None, self.taint.of(given))
            self._stack.append(frame)
            outside, self.taint.within = self.taint.within, self.taint.within or self._bit_within(key)
            try:
                frame.outputs = original(*args, **kwargs)
            finally:
                self._stack.pop()
                self.taint.within = outside
            frame.edits = versions != [tensor._version for tensor in given]
            frame.tags = self.taint.of(frame.outputs)
            self.found.frames[key] = frame
            return self._cut_off(key, frame.outputs) if key in self._replayed else frame.outputs

        return call

    def _cut_off(self, key: CallKey, outputs: Any) -> Any:
        """Return copies that depend on themselves alone; the tensors themselves may be those of the batch."""
        copies = {way: node.clone() for way, node in tree.nodes(outputs) if isinstance(node, Tensor)}
        for way, tensor in copies.items():
            self.found.replayed[key, way] = bit = self._next_bit()
            self.taint.mark(tensor, bit)
        return tree.replace(outputs, copies)

    def _bit_within(self, key: CallKey) -> Tags:
        """Return the bit of a replayed call; none of any other."""
        if key not in self._replayed:
            return 0
        self.found.within[key] = bit = self._next_bit()
        return bit

    def _next_bit(self) -> Tags:
        return 1 << self._free + len(self.found.replayed) + len(self.found.within)
