"""Trace one forward: which leaves every call of a submodule, and every output, depends on."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe, tree
from mviz_lightning.engine.dependency_tags import EscapeMode, Tags, tensors_in, union
from mviz_lightning.engine.element_tags import ElementDependencyMode
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import locate_scores
from mviz_lightning.engine.module_calls import CallKey, wrapped_calls
from mviz_lightning.engine.shape_buckets import alike

JOINTS = frozenset({torch.ops.aten.cat, torch.ops.aten.stack})
"""Operations that put tensors next to one another without computing with both."""

HeldTensor: TypeAlias = tuple[Tensor, Tensor | None]
"""A tensor that holds a leaf, and the leaf's entries in it: bool, broadcastable to the tensor; None for all entries."""


@dataclass(frozen=True)
class Frame:
    """One traced call of a submodule.

    Attributes:
        key: The call.
        parent: The call of a submodule in which it was made; None directly below the model.
        inputs: Tags of its arguments.
        seen: Tags of all operations inside it.
        edits: Whether it changed an argument in place.
        outputs: Keys -> every tensor and every other leaf that it returned; collected at once, since the caller may
            assign into containers.
        tags: Tags of what it returned.
    """

    key: CallKey
    parent: CallKey | None
    inputs: Tags
    seen: Tags
    edits: bool
    outputs: Mapping[tree.Keys, Any]
    tags: Tags


@dataclass(frozen=True)
class Trace:
    """What one traced forward shows.

    Attributes:
        frames: Every call of a submodule.
        followed: Tags of the leaves that tensors hold; strings and arrays are not followed.
        outputs: Tags of the model's scores.
        meetings: For every operation that computes, the tags of each of its inputs.
        work: Cost of all operations on tensors with tags, outside replayed calls: floating-point operations plus
            numbers read and written.
        largest: Bytes of the largest tensor with tags that an operation made.
        decisive: Tags of values that decide a shape or the path of the computation, outside replayed calls.
        replayed: (replayed call, keys of a tensor in its outputs) -> the tag of this tensor.
        inside: Replayed call -> the tag of tensors that it made and did not return, an attribute for example.
    """

    frames: Mapping[CallKey, Frame]
    followed: Tags
    outputs: Tags
    meetings: frozenset[frozenset[Tags]]
    work: int
    largest: int
    decisive: Tags
    replayed: Mapping[tuple[CallKey, tree.Keys], Tags]
    inside: Mapping[CallKey, Tags]


def trace(
    module: nn.Module,
    run: Callable[[], Any],
    leaves: Mapping[str, Sequence[HeldTensor]],
    replayed: Container[CallKey] = (),
    untracked: Tags = 0,
) -> Trace:
    """Run a forward and follow its tensors.

    Args:
        module: The model.
        run: Calls the model and returns its scores.
        leaves: Path of every leaf of the batch that ``run`` uses -> the tensors that hold it; leaf k gets bit k.
        replayed: Calls whose outputs count as inputs: each tensor that they return gets its own bit, beyond the bits of
            the leaves.
        untracked: Tags of tensors that neither a traced operation nor the model made.
    """
    tracer = _Tracer(replayed, untracked, len(leaves) + 1)
    tracer.mark(module, leaves, untracked)
    with wrapped_calls(module, tracer.wrap), EscapeMode(tracer.escaped), tracer.mode:
        outputs = run()
    return tracer.result(outputs)


def trace_rows(
    module: nn.Module,
    predict: Predict,
    probe: Probe,
    size: int,
    device: torch.device,
    replayed: Any = (),
    untracked: Tags = 0,
) -> Trace:
    """Trace a forward of ``size`` examples, the first ones of one shape; leaf k is the k-th of the schema's owners."""
    batch = probe.batch(alike(probe, size).sources, {}, device)
    leaves: dict[str, list[HeldTensor]] = {path: [] for path in probe.schema.owners}
    for path, tensor, entries in probe.schema.tensors(batch):
        leaves[path].append((tensor, entries))
    return trace(module, lambda: locate_scores(predict(module, batch))[1], leaves, replayed, untracked)


class _Tracer:
    """Collects, while a forward runs, what each call depends on."""

    def __init__(self, replayed: Container[CallKey], untracked: Tags, first_free_bit: int) -> None:
        self.mode = ElementDependencyMode(untracked)
        self.mode.listeners.append(self._operation)
        self._to_replay, self._first_free_bit = replayed, first_free_bit
        self._open: list[CallKey] = []  # calls that are running, the outermost first
        self._seen: list[Tags] = []  # what each of them has seen so far
        self._frames: dict[CallKey, Frame] = {}
        self._followed = 0
        self._meetings: set[frozenset[Tags]] = set()
        self._work = self._largest = self._decisive = 0
        self._replayed: dict[tuple[CallKey, tree.Keys], Tags] = {}
        self._inside: dict[CallKey, Tags] = {}

    def mark(self, module: nn.Module, leaves: Mapping[str, Sequence[HeldTensor]], untracked: Tags) -> None:
        """Mark the model's own tensors with no leaf, and every leaf with its bit."""
        for tensor in chain(module.parameters(), module.buffers()):
            self.mode.mark(tensor, 0)
        self._followed = union(1 << bit for bit, held in enumerate(leaves.values()) if held)
        for bit, held in enumerate(leaves.values()):
            for tensor, entries in held:
                if entries is None:
                    self.mode.mark(tensor, 1 << bit | self.mode.of(tensor) & ~untracked)
                else:
                    self.mode.mark_part(tensor, entries, 1 << bit)

    def result(self, outputs: Any) -> Trace:
        """Return the finished trace of a forward with these outputs."""
        return Trace(
            self._frames,
            self._followed,
            self.mode.of(outputs),
            frozenset(self._meetings),
            self._work,
            self._largest,
            self._decisive,
            self._replayed,
            self._inside,
        )

    def _operation(self, given: frozenset[Tags], func: Any, cost: int, outputs: Any) -> None:
        tags = union(given)
        if func._overloadpacket not in JOINTS:
            self._meetings.add(given)
        self._see(tags)
        self._largest = max(self._largest, *(tensor.nbytes for tensor in tensors_in(outputs)), 0)
        if self.mode.inside:
            return
        self._work += cost
        if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            self._decisive |= tags

    def _see(self, tags: Tags) -> None:
        self._seen = [seen | tags for seen in self._seen]

    def escaped(self, tensor: Tensor) -> None:
        """Record that values leave torch: from now on, untracked tensors may hold them."""
        tags = self.mode.of(tensor)
        self.mode.escape(tags)
        self._see(tags)
        if not self.mode.inside:
            self._decisive |= tags

    def wrap(self, key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the submodule's forward, recorded as a frame."""

        def call(*args: Any, **kwargs: Any) -> Any:
            given = list(tensors_in((args, kwargs)))
            versions = [tensor._version for tensor in given]
            parent, inputs = self._open[-1] if self._open else None, self.mode.of(given)
            self._open.append(key)
            self._seen.append(0)
            try:
                with self.mode.inside_call(self.mode.inside or self._tag_inside(key)):
                    outputs = original(*args, **kwargs)
            finally:
                self._open.pop()
                seen = self._seen.pop()
            edits = versions != [tensor._version for tensor in given]
            leaves = dict(tree.leaves(outputs))
            self._frames[key] = Frame(key, parent, inputs, seen, edits, leaves, self.mode.of(outputs))
            return self._detached(key, outputs) if key in self._to_replay else outputs

        return call

    def _detached(self, key: CallKey, outputs: Any) -> Any:
        """Return copies with a tag of their own alone; the tensors themselves may be leaves of the batch."""
        copies = {way: node.clone() for way, node in tree.nodes(outputs) if isinstance(node, Tensor)}
        for way, tensor in copies.items():
            self._replayed[key, way] = bit = self._next_bit()
            self.mode.mark(tensor, bit)
        return tree.replace(outputs, copies)

    def _tag_inside(self, key: CallKey) -> Tags:
        """Return a new tag for a replayed call; 0 for any other call."""
        if key not in self._to_replay:
            return 0
        self._inside[key] = bit = self._next_bit()
        return bit

    def _next_bit(self) -> Tags:
        return 1 << self._first_free_bit + len(self._replayed) + len(self._inside)
