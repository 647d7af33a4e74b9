"""Copies of tensors that an evaluation may write; each is taken once and kept until the tensor changes."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor, nn

from mviz_lightning.engine.snapshots import restore_all, restore_at_exit
from mviz_lightning.engine.write_guard import WriteGuard

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element -> integer type of that size; as integers, NaN and the sign of zero compare like other bits."""

LARGEST_WEIGHTS = 2**26
"""Largest size of all weights together, in bytes, at which they are copied like buffers: 64 MiB.

A training needs far more memory than such a copy.
"""

_KEPT: ContextVar["TensorCopies | None"] = ContextVar("_KEPT", default=None)
"""The copies that several evaluations share."""


class TensorCopies:
    """Copies of tensors, to put them back after an evaluation; several evaluations share them.

    A tensor is copied again only if its version counter has changed since. ``tensor.data`` and NumPy write without
    changing the counter. Therefore contents are compared too: at the end of the first evaluation, and when the copies
    are dropped; for a tensor that was written like this, after every evaluation.

    Weights of more than ``LARGEST_WEIGHTS`` are not copied, except those that the first of these evaluations wrote.

    Attributes:
        lost: Names of weights that a later evaluation wrote: they could not be put back.
    """

    def __init__(self) -> None:
        self.lost: list[str] = []
        self._copies: dict[int, _Copy] = {}
        self._written: dict[int, Tensor] = {}
        self._guarded: dict[int, Tensor] = {}

    @classmethod
    def shared(cls) -> "TensorCopies":
        """Return the copies that the running evaluations share; new ones if they share none."""
        return _KEPT.get() or cls()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let all evaluations inside the block share these copies; no training may run inside it."""
        if _KEPT.get() is not None:
            yield
            return
        self._guarded = {}  # the training may have changed what a forward writes
        token = _KEPT.set(self)
        try:
            yield
        finally:
            _KEPT.reset(token)
            self._drop()

    @contextmanager
    def put_back(self, tensors: Sequence[tuple[str, Tensor]]) -> Iterator[None]:
        """Put tensors back after the block, also after an error.

        Args:
            tensors: The tensors with their names; those without a storage of their own are ignored.
        """
        weights = [(name, tensor) for name, tensor in tensors if isinstance(tensor, nn.Parameter)]
        small = sum(weight.nbytes for _, weight in weights) <= LARGEST_WEIGHTS
        spared = [] if small else [(name, weight) for name, weight in weights if id(weight) not in self._written]
        without = {id(weight) for _, weight in spared}
        copies = [self._copy_of(tensor) for _, tensor in tensors if id(tensor) not in without]
        with ExitStack() as stack:
            restore_at_exit(stack, [partial(self._restore, copy) for copy in copies])
            stack.enter_context(self._spared(spared))
            yield

    def _copy_of(self, tensor: Tensor) -> "_Copy":
        """Return a copy of a tensor; the one that is kept if it is still valid."""
        found = self._copies.get(id(tensor))
        if found is None or not found.holds:
            found = self._copies[id(tensor)] = _Copy(tensor)
        return found

    @contextmanager
    def _spared(self, weights: Sequence[tuple[str, Tensor]]) -> Iterator[None]:
        """Find out which uncopied weights the block writes; put back those that are guarded for the first time."""
        known = [(name, weight, _version(weight)) for name, weight in weights if id(weight) in self._guarded]
        new = [(name, weight) for name, weight in weights if id(weight) not in self._guarded]
        try:
            with _undone(new) as guard:
                yield
            self._written |= {id(weight): weight for weight in guard.changed}
            self._guarded |= {id(weight): weight for _, weight in new}
        finally:
            late = [(name, weight) for name, weight, version in known if _version(weight) != version]
            self.lost += [name for name, _ in late]
            self._written |= {id(weight): weight for _, weight in late}

    def _restore(self, copy: "_Copy") -> None:
        copy.restore()
        self._copies[id(copy.tensor)] = copy  # an evaluation inside may have stored a copy of another content

    def _drop(self) -> None:
        copies, self._copies = self._copies.values(), {}
        restore_all([partial(copy.restore, compare=True) for copy in copies if copy.holds])


@contextmanager
def _undone(weights: Sequence[tuple[str, Tensor]]) -> Iterator[WriteGuard]:
    """Undo what operations of PyTorch write into weights; after the block, the guard lists these weights."""
    guard = WriteGuard(weights)
    with ExitStack() as stack:
        restore_at_exit(stack, [guard.restore])
        if weights:
            stack.enter_context(guard)
        yield guard


class _Copy:
    """A tensor, an alias of its storage, and a copy of its content."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.alias, self.content = tensor, tensor.data, tensor.detach().clone()
        self._version, self._trusted = _version(tensor), False

    @property
    def holds(self) -> bool:
        """Whether the content is still that of the tensor, judging by its version."""
        return not (self._freed or self._moved or self._written)

    @property
    def _freed(self) -> bool:
        """Whether the storage is gone, as after gathered weights are sharded again."""
        return self.alias.untyped_storage().nbytes() < self.content.nbytes

    @property
    def _moved(self) -> bool:
        return self.tensor.data_ptr() != self.alias.data_ptr() or self.tensor.shape != self.alias.shape

    @property
    def _written(self) -> bool:
        return self._version is None or self._version != _version(self.tensor)

    def restore(self, *, compare: bool = False) -> None:
        """Put the tensor back without changing its version: an autograd graph may hold it and check that.

        Args:
            compare: Whether to compare contents in any case.
        """
        if self._freed:
            return
        changed = self._written
        if not changed and (compare or not self._trusted):
            changed = not same_bits(self.alias, self.content)
            self._trusted = not changed
        if changed or self._moved:
            self._write()
        self._version = _version(self.tensor)

    def _write(self) -> None:
        with torch.inference_mode(self.tensor.is_inference()), torch.no_grad():
            if self._moved:
                self.tensor.data = self.alias
            self.alias.copy_(self.content)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors of one type and shape hold the same bits."""
    kind = INTEGERS.get(one.element_size())
    if kind is None or one.dtype.is_complex or one.is_quantized or not one.is_contiguous():
        return torch.equal(one, other)
    return torch.equal(one.view(-1).view(kind), other.view(-1).view(kind))


def _version(tensor: Tensor) -> int | None:
    """Return a tensor's version; None if it counts none."""
    return None if tensor.is_inference() else tensor._version
