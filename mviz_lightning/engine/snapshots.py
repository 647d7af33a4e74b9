"""Remember what an evaluation may change in place, and how to put it back: modules, containers, tensors, gradients."""

import operator
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias
from weakref import ProxyTypes

import numpy as np
import torch
from torch import Tensor, nn

Restore: TypeAlias = Callable[[], None]
"""Puts one thing back as it was."""

CONTAINERS = (dict, list, set, deque)
"""Types of containers that can change in place."""

SNAPSHOT_TYPES = (
    *CONTAINERS,
    tuple,
    Tensor,
    np.ndarray,
    torch.Generator,
    random.Random,
    np.random.Generator,
    np.random.RandomState,
    bytearray,
)
"""Types of values that can change in place, or that can hold such values."""

MACHINERY = frozenset(vars(nn.Module()))
"""Attributes that every module has: mode, hooks, parameters, buffers and submodules."""

REGISTRIES = frozenset(name for name, held in vars(nn.Module()).items() if isinstance(held, dict)) - {"_buffers"}
"""The attributes of :data:`MACHINERY` that hold parameters, submodules and hooks by name."""

LARGEST_STATE = 10_000
"""Largest number of entries of a container whose entries are restored too.

A larger container holds data, a replay buffer for example, and no state.
"""


def ignore(*_: Any, **__: Any) -> None:
    """Do nothing: replaces a method that is muted, and restores what cannot change."""


def restore_all(restores: list[Restore]) -> None:
    """Call all functions, even if one fails, and remove those that worked from the list; then raise the first error."""
    failures: list[Exception] = []
    for restore in [*restores]:
        try:
            restore()
        except Exception as error:
            failures.append(error)
        else:
            restores.pop(len(failures))
    if failures:
        raise failures[0]


def restore_at_exit(stack: ExitStack, restores: list[Restore]) -> None:
    """Call all functions when a stack is left; one that fails or is interrupted is tried once more."""
    for _ in range(2):
        stack.callback(restore_all, restores)


def hide_gradient(parameter: nn.Parameter) -> Restore:
    """Remove a parameter's gradient, to which a backward pass would add in place; return how to restore it."""
    gradient, required, content = parameter.grad, parameter.requires_grad, parameter.data
    parameter.grad = None

    def restore() -> None:
        # Layers that bound their weights assign to .data in forward. Sharded parameters have no address.
        if type(parameter) is nn.Parameter and parameter.data_ptr() != content.data_ptr():
            parameter.data = content
        parameter.requires_grad_(required)
        parameter.grad = gradient

    return restore


def snapshot_module(module: nn.Module) -> Restore:
    """Return how to restore a module's attributes: mode, class, and which parameters, buffers and hooks it has.

    The contents of these are restored elsewhere.
    """
    attributes, kind, training = vars(module), type(module), module.training
    restore_attributes, buffers = snapshot_attributes(attributes), dict(module._buffers.items())
    found = [held for name, held in attributes.items() if name in REGISTRIES and isinstance(held, dict)]
    registries = [(held, dict(held)) for held in found]
    unsaved = snapshot_content(attributes.get("_non_persistent_buffers_set"))

    def restore() -> None:
        if type(module) is not kind:  # parametrizations give it another class
            module.__class__ = kind
        restore_attributes()
        _refill_buffers(module, buffers)
        for registry, items in registries:
            _refill(registry, items)
        unsaved()
        if module.training != training:  # scripted modules keep it outside their attributes
            module.training = training

    return restore


def snapshot_attributes(attributes: dict[str, Any]) -> Restore:
    """Return how to restore the ``vars()`` of an object; during this, it is never without its attributes."""
    kept = dict(attributes)

    def restore() -> None:
        for name in attributes.keys() - kept.keys():
            del attributes[name]
        attributes.update(kept)

    return restore


def snapshot_contents(values: Iterable[Any]) -> list[Restore]:
    """Return how to restore the content of tensors and containers, and of containers in them, outer ones first."""
    found, seen = [], set()
    waiting = deque(values)
    while waiting:
        value = waiting.popleft()
        if can_snapshot(value) and id(value) not in seen:
            seen.add(id(value))
            found.append(snapshot_content(value))
            if isinstance(value, (*CONTAINERS, tuple)) and len(value) <= LARGEST_STATE:
                held = dict.values(value) if isinstance(value, dict) else value
                waiting.extend(filter(can_snapshot, held))
    return found


def can_snapshot(value: Any) -> bool:
    """Return whether a value can change in place; False for proxies, which raise an error once their object is gone."""
    return type(value) not in ProxyTypes and isinstance(value, SNAPSHOT_TYPES)


def snapshot_content(value: Any) -> Restore:
    """Return how to restore the content of one tensor or container after in-place changes."""
    if isinstance(value, nn.Parameter):
        return ignore
    if isinstance(value, Tensor):
        return snapshot_tensor(value)
    if isinstance(value, np.ndarray) and value.flags.writeable and not isinstance(value, np.memmap):
        return snapshot_array(value)
    if isinstance(value, dict):
        items = dict(value)
        return lambda: _refill(value, items)
    if isinstance(value, list | set | deque):
        entries = list(value)
        return lambda: _refill_entries(value, entries)
    return _snapshot_state(value)


def _snapshot_state(value: Any) -> Restore:
    """Return how to restore the bytes of a ``bytearray``, or the state of a generator of random numbers."""
    if isinstance(value, bytearray):
        return partial(value.__setitem__, slice(None), bytes(value))
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: ignore(value.set_state(state))
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):  # which has no state
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return ignore


def snapshot_tensor(tensor: Tensor) -> Restore:
    """Return how to restore a tensor's values and shape; copies the tensor at once."""
    content = tensor.detach().clone()

    def restore() -> None:
        # Only if it changed: an autograd graph may hold the tensor and check its version.
        if tensor.shape != content.shape:
            tensor.data = content
        elif tensor.layout != torch.strided or not torch.equal(tensor, content):
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                tensor.copy_(content)  # not through detach(), which copies the values of a sparse tensor

    return restore


def snapshot_array(array: Any) -> Restore:
    """Return how to restore an array's values; copies the array at once."""
    content = array.copy()
    return lambda: None if np.array_equal(array, content) else np.copyto(array, content)


def _refill_buffers(module: nn.Module, buffers: dict[str, Any]) -> None:
    """Restore a module's buffers; those of a scripted module can only be set one by one."""
    if not isinstance(module, torch.jit.ScriptModule):
        _refill(module._buffers, buffers)
        return
    for name, buffer in buffers.items():
        setattr(module, name, buffer)


def _refill(mapping: dict[Any, Any], items: dict[Any, Any]) -> None:
    """Restore a mapping if it changed, with the base class's methods, since the user's own class may forbid changes."""
    if not (mapping or items) or _same_entries(mapping, items):
        return
    base: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict
    base.clear(mapping)
    base.update(mapping, items)


def _same_entries(mapping: dict[Any, Any], items: dict[Any, Any]) -> bool:
    return list(mapping) == list(items) and all(mapping[key] is items[key] for key in items)


def _refill_entries(value: Any, entries: list[Any]) -> None:
    if len(value) == len(entries) and all(map(operator.is_, value, entries)):
        return
    base: Any = next(kind for kind in (list, set, deque) if isinstance(value, kind))
    base.clear(value)
    (base.update if base is set else base.extend)(value, entries)
