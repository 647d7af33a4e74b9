"""Check the indices of lookups before a GPU uses them: an index out of bounds there breaks the whole process."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.write_guard import has_own_dispatch

aten = torch.ops.aten

TABLES = {aten.embedding, aten._embedding_bag, aten._embedding_bag_forward_only}
"""Operations that look up rows of their first argument; the second argument holds the indices."""

ALONG = {aten.index_select, aten.gather}
"""Operations that look up along a dimension of their first argument; the third argument holds the indices."""


class IndexBounds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises before an operation runs if an index is out of bounds.

    A CPU raises an error itself. A GPU fails an assertion, after which nothing works in this process any more. A wrong
    call that is only tried, with tokens in place of positions for example, must not end a training.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation.

        Raises:
            IndexError: An index is out of bounds.
        """
        if has_own_dispatch(types):
            return NotImplemented
        for index, size, lowest in _lookups(func, args):
            _require(index, size, lowest)
        return func(*args, **(kwargs or {}))


def checked_lookups(module: nn.Module) -> AbstractContextManager[Any]:
    """Return the context for trying a model: it checks lookups, except on a CPU, which checks them itself."""
    return nullcontext() if device_of(module).type == "cpu" else IndexBounds()


def _lookups(func: Any, args: tuple[Any, ...]) -> Iterator[tuple[Tensor, int, int]]:
    """Yield the indices of an operation, the size of the dimension that they index, and the lowest valid index."""
    packet = getattr(func, "_overloadpacket", None)  # higher-order operations have no packet
    if packet in TABLES:
        yield args[1], args[0].shape[0], 0
    elif packet in ALONG and args[0].dim():
        yield args[2], args[0].shape[args[1]], 0
    elif packet is aten.index:
        for size, index in zip(args[0].shape, args[1], strict=False):
            if index is not None and index.dtype in {torch.bool, torch.uint8}:
                return  # a mask takes the place of as many dimensions as it has
            if index is not None:
                yield index, size, -size


def _require(index: Tensor, size: int, lowest: int) -> None:
    if index.numel() and not index.is_meta:
        first, last = (int(found) for found in index.aminmax())
        if first < lowest or last >= size:
            wrong = first if first < lowest else last
            raise IndexError(f"index {wrong} is out of bounds for a dimension of size {size}")
