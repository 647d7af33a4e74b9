"""Undo writes into tensors that are too large to copy each time, the weights above all; refuse collectives."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class CollectiveInStep(Exception):  # noqa: N818 - it describes the step, and is handled as a property of the step
    """The step exchanges tensors with other processes, which are not in the same step now."""


class WriteGuard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies the content of a tensor before the first operation that writes it, and puts it back after the block.

    Inside the block every operation of PyTorch is intercepted. So ``p.data.copy_(average)``, which does not change the
    version counter, is undone like ``load_state_dict``. Tensors that nothing writes cost no memory. Writes outside
    PyTorch are not noticed: into ``p.detach().numpy()``, in another thread, or by a kernel of the user's own.

    Args:
        tensors: The tensors with their names; those without a storage of their own are ignored.

    Attributes:
        changed: After the block, the tensors that the block wrote, or whose ``data`` it replaced.
        written: Their names. Tensors named "" are left out.
    """

    supports_higher_order_operators = True

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.changed: list[Tensor] = []
        self.written: list[str] = []
        self._guarded: dict[int, list[_Guarded]] = defaultdict(list)
        for name, tensor in tensors:
            if address := storage_address(tensor):
                self._guarded[address].append(_Guarded(name, tensor, tensor.data))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation; first copy what it writes."""
        if has_own_dispatch(types):
            return NotImplemented
        for tensor in _written_tensors(func, args, kwargs or {}):
            for guarded in self._guarded.get(storage_address(tensor), ()):
                guarded.keep()
        return func(*args, **(kwargs or {}))

    def restore(self) -> None:
        """Put everything back and name what was written. Call it after the block."""
        entries = [guarded for group in self._guarded.values() for guarded in group]
        changed = [guarded for guarded in entries if guarded.written or guarded.moved]
        self.changed = [guarded.tensor for guarded in changed]
        self.written = [guarded.name for guarded in changed if guarded.name]
        for guarded in entries:
            guarded.restore()


class CollectiveBan(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises instead of running a collective, which would wait for processes that do not take part in it."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.refused: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation, if it is no collective.

        Raises:
            CollectiveInStep: It is one.
        """
        if "c10d" in getattr(func, "namespace", ""):
            self.refused = str(func)
            raise self.error()
        if has_own_dispatch(types):
            return NotImplemented
        return func(*args, **(kwargs or {}))

    def error(self) -> CollectiveInStep:
        """Return the error that names the collective."""
        return CollectiveInStep(f"the step calls {self.refused} of torch.distributed, and the other processes do not.")


def world_size() -> int:
    """Return the number of processes that collectives run on."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@dataclass
class _Guarded:
    """A tensor, an alias of its storage, and a copy of its content if something has written it."""

    name: str
    tensor: Tensor
    alias: Tensor
    copy: Tensor | None = None
    written: bool = False

    @property
    def moved(self) -> bool:
        return self.tensor.data_ptr() != self.alias.data_ptr() or self.tensor.shape != self.alias.shape

    def keep(self) -> None:
        self.written = True
        if self.copy is None:
            self.copy = self.alias.clone()

    def restore(self) -> None:
        with torch.inference_mode(self.tensor.is_inference()), torch.no_grad():
            if self.moved:
                self.tensor.data = self.alias
            if self.copy is not None:
                self.alias.copy_(self.copy)


def storage_address(tensor: Tensor) -> int:
    """Return the address of a tensor's storage; 0 if it has none of its own."""
    if tensor.layout != torch.strided or has_own_dispatch([type(tensor)]):
        return 0
    return tensor.untyped_storage().data_ptr()


def has_own_dispatch(types: Iterable[type]) -> bool:
    """Return whether tensors are of a class that runs operations itself, sharded ones for example.

    The mode must leave the outer operation to the class, so that the inner ones reach the mode. Fake tensors hold no
    data.
    """
    plain = Tensor.__torch_dispatch__
    return any(
        getattr(kind, "__torch_dispatch__", plain) is not plain and kind.__name__ != "FakeTensor" for kind in types
    )


def _written_tensors(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors that an operation writes in place."""
    for position, name in _written_arguments(func):
        value = args[position] if position < len(args) else kwargs.get(name)
        yield from (
            part for part in (value if isinstance(value, list | tuple) else [value]) if isinstance(part, Tensor)
        )


@cache
def _written_arguments(func: Any) -> list[tuple[int, str]]:
    """Return positions and names of the arguments that an operation's schema marks as written."""
    arguments = func._schema.arguments if hasattr(func, "_schema") else ()  # higher-order operations have no schema
    marked = [one.alias_info is not None and one.alias_info.is_write for one in arguments]
    return [(position, arguments[position].name) for position, written in enumerate(marked) if written]
