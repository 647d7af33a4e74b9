"""Find all that a module's code can reach and change: objects, metrics and nets in containers, not only submodules."""

from collections import deque
from collections.abc import Iterator
from functools import cache, partial
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mviz_lightning.engine.snapshots import (
    CONTAINERS,
    LARGEST_STATE,
    SNAPSHOT_TYPES,
    Restore,
    hide_gradient,
    snapshot_attributes,
    snapshot_content,
    snapshot_module,
)

LARGEST_REACH = 20_000
"""Largest number of objects that are looked at. The nearest come first; what holds more is data and no state."""

LARGEST_ARRAY = 2**26
"""Size in bytes from which an array in an object counts as data, which a step reads and does not change."""

LOGGERS = frozenset(
    {"wandb", "tensorboard", "tensorboardX", "mlflow", "comet_ml", "neptune", "clearml", "aim", "logging"}
)
"""Packages whose objects record."""

THREADS = frozenset({"_thread", "threading", "multiprocessing", "concurrent", "asyncio", "subprocess", "queue"})
"""Packages whose objects are shared with other threads and processes."""

OTHERS = LOGGERS | THREADS | {"lightning", "pytorch_lightning", "lightning_fabric", "torch", "weakref", "functools"}
"""Packages whose objects are not the user's own: the trainer, data loaders and data sets, loggers, threads."""

NO_OBJECTS = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, BaseException, Tensor)
"""What has attributes and no state of the user's own."""


class HeldState:
    """All that a module holds, directly or through containers and objects of the user's own classes.

    Attributes:
        tensors: The tensors with their names; only parameters of the module have other names than "".
        restores: How to put back everything else.
    """

    def __init__(self, module: nn.Module) -> None:
        self.tensors: list[tuple[str, Tensor]] = []
        self.restores: list[Restore] = []
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        submodules = {id(child) for child in module.modules()}
        for value in _reachable(module):
            if isinstance(value, Tensor):
                self.tensors.append((names.get(id(value), ""), value))
            elif id(value) not in submodules:
                self.restores.extend(_snapshots(value))


def _snapshots(value: Any) -> Iterator[Restore]:
    """Yield how to restore an object that is no tensor and no submodule."""
    if isinstance(value, nn.Module):
        yield snapshot_module(value)
        yield from map(hide_gradient, value.parameters(recurse=False))
        return
    if isinstance(value, SNAPSHOT_TYPES):
        yield snapshot_content(value)
    if _is_own(value):
        yield snapshot_attributes(_attributes(value))
        yield from (_snapshot_slot(slot, value) for slot in _slots(_class_of(value)))


def _snapshot_slot(slot: MemberDescriptorType, value: Any) -> Restore:
    kept = _content(slot, value)
    if kept:
        return partial(slot.__set__, value, kept[0])
    return lambda: slot.__delete__(value) if _content(slot, value) else None


def _reachable(module: nn.Module) -> Iterator[Any]:
    """Yield what can change, the nearest first, each object once."""
    seen: dict[int, Any] = {}
    waiting: deque[Any] = deque([module])
    while waiting and len(seen) < LARGEST_REACH:
        value = waiting.popleft()
        if id(value) not in seen and _can_change(value):
            seen[id(value)] = value
            yield value
            waiting.extend(_held(value))


def _can_change(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.nbytes < LARGEST_ARRAY)
    return isinstance(value, (*SNAPSHOT_TYPES, nn.Module)) or _is_own(value)


def _held(value: Any) -> Iterator[Any]:
    """Yield what an object holds directly."""
    if isinstance(value, nn.Module):
        yield from () if isinstance(value, torch.jit.ScriptModule) else vars(value).values()
        return
    if isinstance(value, (*CONTAINERS, tuple)) and len(value) <= LARGEST_STATE:
        yield from dict.values(value) if isinstance(value, dict) else value
    if _is_own(value):
        yield from _attributes(value).values()
        yield from (held for slot in _slots(_class_of(value)) for held in _content(slot, value))


def _attributes(value: Any) -> dict[str, Any]:
    """Return the ``vars()`` of an object without running code of its class."""
    try:
        return object.__getattribute__(value, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:
        return {}


def _class_of(value: Any) -> Any:
    """Return an object's class; not what its ``__class__`` says."""
    return type(value)


@cache
def _slots(kind: Any) -> list[MemberDescriptorType]:
    """Return the slots of a class and of those that it inherits from."""
    owners = [base for base in kind.__mro__ if "__slots__" in vars(base)]
    return [slot for base in owners for slot in vars(base).values() if isinstance(slot, MemberDescriptorType)]


def _content(slot: MemberDescriptorType, value: Any) -> list[Any]:
    """Return what a slot holds; nothing if it is empty."""
    try:
        return [slot.__get__(value)]
    except AttributeError:
        return []


def _is_own(value: Any) -> bool:
    """Tell whether an object is of a class of the user's own and shares nothing with other threads."""
    return _is_own_class(_class_of(value)) and not any(
        _is_of(type(held), THREADS) for held in _attributes(value).values()
    )


@cache
def _is_own_class(kind: Any) -> bool:
    """Tell whether a class is the user's own, and its objects have attributes."""
    if issubclass(kind, NO_OBJECTS) or not (kind.__dictoffset__ or _slots(kind)):
        return False
    return all(base.__module__.startswith("torch.optim") or not _is_of(base, OTHERS) for base in kind.__mro__)


def is_logger(value: Any) -> bool:
    """Tell whether an object records: a logger, a run, a writer."""
    kinds = type(value).__mro__
    return any(_is_of(kind, LOGGERS) or kind.__name__ in {"Logger", "SummaryWriter"} for kind in kinds)


def _is_of(kind: type, packages: frozenset[str]) -> bool:
    return kind.__module__.partition(".")[0] in packages
