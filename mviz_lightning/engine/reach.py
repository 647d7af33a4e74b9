"""Find all that a module's code can reach and change: objects, metrics and nets in containers, not only submodules."""

import sys
import sysconfig
from collections import deque
from collections.abc import Iterator
from functools import cache, partial
from types import BuiltinFunctionType, CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any
from weakref import ProxyTypes

import numpy as np
import torch
from torch import Tensor, nn

from mviz_lightning.engine.snapshots import CONTAINERS, LARGEST_STATE, MACHINERY, SNAPSHOT_TYPES

LARGEST_REACH = 50_000
"""Largest number of objects that are examined beyond the roots, the nearest first; more objects are data."""

LARGEST_ARRAY = 2**26
"""Size in bytes from which an array in an object counts as data: a step reads it and does not change it."""

LOGGERS = frozenset(
    {"wandb", "tensorboard", "tensorboardX", "mlflow", "comet_ml", "neptune", "clearml", "aim", "logging", "_csv"}
)
"""Packages whose objects record."""

THREADS = frozenset({"threading", "multiprocessing", "concurrent", "asyncio", "subprocess", "queue"})
"""Packages whose objects are shared with other threads and processes."""

OTHERS = (
    LOGGERS
    | THREADS
    | {"lightning", "pytorch_lightning", "lightning_fabric", "torch", "weakref", "_thread", "mviz_lightning"}
)
"""Packages whose objects are not the user's own: the trainer, data loaders and data sets, loggers, observers."""

NO_OBJECTS = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, BaseException, Tensor)
"""Types whose objects have attributes but do not count as objects of the user's own classes."""

UNCHANGING = frozenset({int, float, bool, str, bytes, type(None), torch.Size, torch.dtype, torch.device})
"""Types that cannot change; most attributes have one of them."""

CHANGING = (*SNAPSHOT_TYPES, nn.Module, MethodType, partial, property, staticmethod, classmethod, CellType)
"""Types that can change, or that hold objects that can."""

LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""Folders of installed code, whose classes and functions keep no state of the user's."""


def reachable(*roots: Any) -> Iterator[Any]:
    """Yield objects and what they hold, the nearest first, each object once.

    The search goes through submodules, containers, objects of the user's own classes, these classes, and the user's
    functions, hooks included. It ends at objects of other packages, and at containers and arrays of data.
    """
    seen: dict[int, Any] = {}
    waiting: deque[Any] = deque(roots)
    while waiting and len(seen) < LARGEST_REACH + len(roots):
        value = waiting.popleft()
        if id(value) not in seen and _can_change(value):
            seen[id(value)] = value
            yield value
            waiting.extend(_held(value))


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the ``vars()`` of an object without running code of its class."""
    try:
        return object.__getattribute__(value, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:
        return {}


def class_of(value: Any) -> Any:
    """Return an object's class, whatever its ``__class__`` returns."""
    return type(value)


def is_own(value: Any) -> bool:
    """Return whether an object is of a class of the user's own and holds no thread; it may hold a lock."""
    return _has_own_class(class_of(value)) and not any(
        _is_shared(class_of(held)) for held in attributes_of(value).values()
    )


def is_logger(kind: Any) -> bool:
    """Return whether objects of a class record: loggers, runs, writers."""
    return any(_is_of(base, LOGGERS) or base.__name__ in {"Logger", "SummaryWriter"} for base in kind.__mro__)


@cache
def slots_of(kind: Any) -> list[MemberDescriptorType]:
    """Return the slots of a class and of those that it inherits from."""
    owners = [base for base in kind.__mro__ if "__slots__" in vars(base)]
    return [slot for base in owners for slot in vars(base).values() if isinstance(slot, MemberDescriptorType)]


def slot_content(slot: MemberDescriptorType, value: Any) -> list[Any]:
    """Return what an object's slot holds; nothing if it is empty."""
    try:
        return [slot.__get__(value)]
    except AttributeError:
        return []


def class_state(kind: type) -> dict[str, Any]:
    """Return a class's attributes, without those that begin with two underscores."""
    return {name: value for name, value in vars(kind).items() if not name.startswith("__")}


def cell_content(cell: CellType) -> list[Any]:
    """Return what a variable of an enclosing function holds; nothing if it is empty."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


@cache
def is_users(place: str) -> bool:
    """Return whether a Python module is the user's own program, and not installed."""
    found = getattr(sys.modules.get(place), "__file__", None)
    own = place != "builtins" and place.partition(".")[0] not in OTHERS
    return own and (found is None or not found.startswith(LIBRARIES))


def _can_change(value: Any) -> bool:
    if type(value) in UNCHANGING or type(value) in ProxyTypes:
        return False
    if isinstance(value, np.ndarray):
        return bool(value.nbytes < LARGEST_ARRAY)
    if isinstance(value, tuple):
        return is_own(value) or (len(value) <= LARGEST_STATE and any(map(_can_change, value)))
    if isinstance(value, type | FunctionType):
        return is_users(value.__module__)
    return isinstance(value, CHANGING) or is_own(value)


def _held(value: Any) -> Iterator[Any]:
    """Yield what an object holds directly."""
    if isinstance(value, nn.Module):
        yield from _held_by_module(value)
    elif isinstance(value, type):
        yield from class_state(value).values()
    elif isinstance(value, property | staticmethod | classmethod):
        yield from (value.fget, value.fset) if isinstance(value, property) else [value.__func__]
    elif isinstance(value, FunctionType | MethodType | partial | CellType):
        yield from _held_by_function(value)
    else:
        if isinstance(value, np.ndarray) and value.dtype == object and value.size <= LARGEST_STATE:
            yield from value.flat
        if isinstance(value, (*CONTAINERS, tuple)) and len(value) <= LARGEST_STATE:
            yield from dict.values(value) if isinstance(value, dict) else value
        if is_own(value):
            yield from attributes_of(value).values()
            yield from (held for slot in slots_of(class_of(value)) for held in slot_content(slot, value))
            yield from type(value).__mro__


def _held_by_module(module: nn.Module) -> Iterator[Any]:
    yield from (held for held in module._buffers.values() if held is not None)
    if isinstance(module, torch.jit.ScriptModule):
        return
    for name, held in vars(module).items():
        if name not in MACHINERY:
            yield held
        elif held and name != "_buffers" and isinstance(held, dict):
            yield from held.values()
    yield from type(module).__mro__


def _held_by_function(value: Any) -> Iterator[Any]:
    if isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, CellType):
        yield from cell_content(value)
    else:
        yield from (*(value.__closure__ or ()), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        yield from vars(value).values()


@cache
def _has_own_class(kind: Any) -> bool:
    """Return whether a class is the user's own, and its objects have attributes."""
    if issubclass(kind, NO_OBJECTS) or not (kind.__dictoffset__ or slots_of(kind)):
        return False
    return all(base.__module__.startswith("torch.optim") or not _is_of(base, OTHERS) for base in kind.__mro__)


@cache
def _is_shared(kind: Any) -> bool:
    """Return whether objects of a class are shared with other threads or processes."""
    return _is_of(kind, THREADS)


def _is_of(kind: type, packages: frozenset[str]) -> bool:
    return kind.__module__.partition(".")[0] in packages
