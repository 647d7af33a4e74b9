"""Notice changes by evaluations of a model that are not put back: global variables, large data, large weights."""

import zlib
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from mviz_lightning.engine.generators import GENERATORS, state_of
from mviz_lightning.engine.reach import (
    LARGEST_ARRAY,
    UNCHANGING,
    attributes_of,
    cell_content,
    class_of,
    class_state,
    is_own,
    is_users,
    reachable,
    slot_content,
    slots_of,
)
from mviz_lightning.engine.snapshots import CONTAINERS, LARGEST_STATE
from mviz_lightning.engine.tensor_copies import INTEGERS, LARGEST_WEIGHTS, TensorCopies
from mviz_lightning.engine.write_guard import storage_address

Digest: TypeAlias = dict[str, tuple[Hashable, Any]]
"""Name of what can change -> its content, and the objects in it: held so that their identities stay unique."""


class SideEffects:
    """What evaluations changed that isolation did not put back, by name.

    Attributes:
        copies: The copies of tensors that evaluations share.
    """

    def __init__(self) -> None:
        self.copies = TensorCopies()
        self._found: dict[str, None] = {}

    @contextmanager
    def noticed(self, module: nn.Module, *others: Any, closely: bool) -> Iterator[None]:
        """Let evaluations share copies of tensors inside the block, and notice what they change.

        Args:
            module: The user's model.
            others: What is called beside it, a function ``predict`` for example.
            closely: Whether digests before and after are compared; otherwise only versions of large weights show
                changes.
        """
        before = _digest(module, *others) if closely else {}
        try:
            with self.copies.kept():
                yield
        finally:
            changed = changed_names(before, _digest(module, *others)) if before else []
            self._found |= dict.fromkeys([*self.copies.lost, *changed])
            self.copies.lost.clear()

    def pop(self) -> list[str]:
        """Return the names of what was changed since the last call."""
        found, self._found = list(self._found), {}
        return found


def digest(module: nn.Module, *others: Any) -> Digest:
    """Return the contents of what evaluations may change and isolation does not put back.

    These are global variables that the user's own code names; attributes that are too large to be copied; and weights,
    if all together are too large. Changes in files and in the memory of other processes are not noticed.
    """
    attributes, weights = _large_attributes(module), _large_weights(module)
    large = {name: _content([value, *_entries(value)]) for name, value in attributes.items()}
    small = {**weights, **_globals(module, *others)}
    return large | {name: _content([value, *reachable(value)]) for name, value in small.items()}


def _digest(module: nn.Module, *others: Any) -> Digest:
    """Return a digest; an empty one if objects of the user's raise an error when they are read."""
    try:
        return {"": ((), ())} | digest(module, *others)
    except Exception:
        return {}


def changed_names(before: Digest, after: Digest) -> list[str]:
    """Return the names of what differs between two digests."""
    return [name for name, (content, _) in after.items() if name not in before or before[name][0] != content]


def _content(values: Iterable[Any]) -> tuple[Hashable, Any]:
    parts = [value if type(value) in UNCHANGING else [value, *_parts(value)] for value in values]  # most are plain
    return tuple(tuple(map(_identity, part)) if type(part) is list else part for part in parts), parts


def _large_weights(module: nn.Module) -> dict[str, Any]:
    weights = {name: weight for name, weight in module.named_parameters() if storage_address(weight)}
    return weights if sum(weight.nbytes for weight in weights.values()) > LARGEST_WEIGHTS else {}


def _large_attributes(module: nn.Module) -> dict[str, Any]:
    return {
        f"{prefix}.{name}".lstrip("."): value
        for prefix, child in module.named_modules()
        for name, value in vars(child).items()
        if _is_large(value)
    }


def _is_large(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.nbytes >= LARGEST_ARRAY and not isinstance(value, np.memmap)
    return isinstance(value, CONTAINERS) and len(value) > LARGEST_STATE


def _globals(*roots: Any) -> dict[str, Any]:
    """Return the global variables that functions of the user's own name, and those that these functions reach."""
    found: dict[str, Any] = {}
    waiting = deque(one for one in reachable(*roots) if isinstance(one, FunctionType))
    seen = {*map(id, waiting)}
    while waiting:
        function = waiting.popleft()
        for name, value in _named_by(function):
            if name not in found:
                found[name] = value
                new = [one for one in reachable(value) if isinstance(one, FunctionType) and id(one) not in seen]
                seen.update(map(id, new))
                waiting.extend(new)
    return found


def _named_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the global variables that a function's code names, including variables of the user's other modules."""
    names, variables = {*_names_in(function.__code__)}, function.__globals__
    modules = [variables[name] for name in names if isinstance(variables.get(name), ModuleType)]
    for place, held in [
        (function.__module__, variables),
        *((one.__name__, vars(one)) for one in modules if is_users(one.__name__)),
    ]:
        yield from ((f"{name} of {place}", held[name]) for name in sorted(names & held.keys()))


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _parts(value: Any) -> list[Any]:
    """Return what an object is made of."""
    for kind, parts in PARTS.items():
        if isinstance(value, kind):
            return parts(value)
    return [*_entries(value), *_attributes(value)]


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*dict.keys(value), *dict.values(value)]
    if isinstance(value, np.ndarray):
        return list(value.flat) if value.dtype == object else []
    return list(value) if isinstance(value, (*CONTAINERS, tuple)) else []


def _attributes(value: Any) -> list[Any]:
    if not is_own(value):
        return []
    slots = (held for slot in slots_of(class_of(value)) for held in slot_content(slot, value))
    return [class_of(value), *attributes_of(value), *attributes_of(value).values(), *slots]


def _identity(value: Any) -> Hashable:
    return value if type(value) in UNCHANGING else id(value)


def _tensor_bits(tensor: Tensor) -> list[Any]:
    if not storage_address(tensor):
        return [id(tensor)]
    plain = tensor.detach().contiguous().view(-1)
    on_cpu = plain.device.type == "cpu"
    return [tensor.data_ptr(), zlib.crc32(plain.view(torch.uint8).numpy().data) if on_cpu else sum_of_bits(plain)]


def sum_of_bits(plain: Tensor) -> int:
    """Return the sum of a flat tensor's bits as integers, computed on its device: weights of a GPU may be gigabytes."""
    return int(plain.view(INTEGERS.get(plain.element_size(), torch.uint8)).sum(dtype=torch.int64))


def _array_bits(values: Any) -> list[Any]:
    if values.dtype == object:
        return _entries(values)
    return [values.ctypes.data, zlib.crc32(np.ascontiguousarray(values).data)]


PARTS: Mapping[type, Callable[[Any], list[Any]]] = {
    Tensor: _tensor_bits,
    np.ndarray: _array_bits,
    **dict.fromkeys(GENERATORS, lambda generator: [repr(state_of(generator))]),
    bytearray: lambda value: [bytes(value)],
    count: lambda value: [repr(value)],
    type: lambda kind: [*class_state(kind).values()],
    CellType: cell_content,
    FunctionType: lambda function: [*vars(function).values()],
    array: lambda value: [value.tobytes()],
}
"""Type -> what its objects are made of."""
