"""Use the user's model and leave no trace.

Whatever an evaluation may change is put back, also when it fails: random states, gradients, modules' attributes and
modes, buffers, metrics, logged values. Parameters are never written to; loaders are never iterated.
"""

import operator
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mviz_lightning.errors import ConfigurationError

Restore: TypeAlias = Callable[[], None]

CONTAINERS = (dict, list, set, deque)
KEPT = (*CONTAINERS, tuple, Tensor, np.ndarray, torch.Generator, random.Random, np.random.Generator)
"""What may change in place, and what may hold such."""

MANY = 1000
"""Entries beyond which a container holds data, a replay buffer say, and not a state: its entries are not copied."""


@contextmanager
def isolated(module: nn.Module, *, seed: int = 0) -> Iterator[None]:
    """Put the module in evaluation mode without gradients; afterwards everything is as it was.

    Inside, random numbers follow ``seed``, logging from forward is muted, compiled modules run eagerly (hooks on them
    would not fire otherwise, and odd batch sizes would recompile), and attention takes the path that training takes
    rather than the fast path for evaluation, which differs on padded rows.

    Args:
        module: The user's model.
        seed: Of random numbers that a forward may draw.

    Raises:
        ConfigurationError: The module has layers that its first forward would initialise.
    """
    _refuse_lazy(module)
    with ExitStack() as stack:
        stack.enter_context(random_states())
        stack.enter_context(_mha_slow_path())
        stack.callback(_restore_all, [_snapshot(child) for child in module.modules()])
        stack.callback(_restore_all, [_hide_gradient(parameter) for parameter in module.parameters()])
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        _seed(seed)
        module.eval()
        _mute_logging(module)
        yield


def _refuse_lazy(module: nn.Module) -> None:
    """Initialising would draw random numbers that the training has to draw itself."""
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(tensor):
            raise ConfigurationError(
                f"the lazy layer of {name!r} is not initialised yet; call the model once on a batch before the "
                "training, as optimizers and distributed training need it too."
            )


def _seed(seed: int) -> None:
    """Seed what is restored afterwards, and nothing else: not the devices that were never started."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - models that sample draw from the global state
    torch.default_generator.manual_seed(seed)
    for device in _cuda_devices():
        torch.cuda.default_generators[device].manual_seed(seed)


def _cuda_devices() -> range:
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return range(torch.cuda.device_count() if started else 0)


@contextmanager
def random_states() -> Iterator[None]:
    """Put the global random states back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that data sets draw from
    try:
        with torch.random.fork_rng(_cuda_devices()):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _mha_slow_path() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _mute_logging(module: nn.Module) -> None:
    """Shadow a LightningModule's ``log`` and ``log_dict``; the snapshot of its attributes brings them back."""
    if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__):
        vars(module).update(log=_ignore, log_dict=_ignore)


def _ignore(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _restore_all(restores: list[Restore]) -> None:
    """Put everything back, also what comes after something that cannot be."""
    failures = []
    for restore in restores:
        try:
            restore()
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _hide_gradient(parameter: nn.Parameter) -> Restore:
    """Take the gradient away, since a backward pass would add to the object in place."""
    gradient, required, content = parameter.grad, parameter.requires_grad, parameter.data
    parameter.grad = None

    def restore() -> None:
        # Layers that keep their weights within bounds assign to .data in forward; sharded ones have no address.
        if type(parameter) is nn.Parameter and parameter.data_ptr() != content.data_ptr():
            parameter.data = content
        parameter.requires_grad_(required)
        parameter.grad = gradient

    return restore


def _snapshot(module: nn.Module) -> Restore:
    """Remember one module's attributes and the containers in them: mode, buffers, metric states, caches, hooks."""
    attributes = dict(vars(module))
    buffers = dict(module._buffers.items())
    held = [value for name, value in attributes.items() if name != "_buffers"]
    contents = _snapshot_contents([*held, *buffers.values()])
    if getattr(module, "max_norm", None) is not None and isinstance(module.weight, Tensor):
        contents.append(_snapshot_tensor(module.weight))  # an embedding that shortens what it looks up
    training = module.training

    def restore() -> None:
        for name in vars(module).keys() - attributes.keys():
            del vars(module)[name]
        vars(module).update(attributes)
        _refill_buffers(module, buffers)
        _restore_all(contents)
        if module.training != training:  # scripted modules keep it elsewhere
            module.training = training

    return restore


def _snapshot_contents(values: Iterable[Any]) -> list[Restore]:
    """Remember what tensors and containers hold, and the containers in them, outer ones first."""
    found, seen = [], set()
    waiting = deque(values)
    while waiting:
        value = waiting.popleft()
        if isinstance(value, KEPT) and id(value) not in seen:
            seen.add(id(value))
            found.append(_snapshot_content(value))
            if isinstance(value, (*CONTAINERS, tuple)) and len(value) <= MANY:
                held = dict.values(value) if isinstance(value, dict) else value
                waiting.extend(inner for inner in held if isinstance(inner, KEPT))
    return found


def _snapshot_content(value: Any) -> Restore:
    """Remember what a tensor or a container holds, for in-place changes."""
    if isinstance(value, nn.Parameter):
        return _ignore
    if isinstance(value, Tensor):
        return _snapshot_tensor(value)
    if isinstance(value, np.ndarray) and value.flags.writeable and not isinstance(value, np.memmap):
        return _snapshot_array(value)
    if isinstance(value, dict):
        items = dict(value)
        return lambda: _refill(value, items)
    if isinstance(value, list | set | deque):
        entries = list(value)
        return lambda: _refill_entries(value, entries)
    return _snapshot_generator(value)


def _snapshot_generator(value: Any) -> Restore:
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: _ignore(value.set_state(state))
    if isinstance(value, random.Random):
        return partial(value.setstate, value.getstate())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return _ignore


def _snapshot_tensor(tensor: Tensor) -> Restore:
    content = tensor.detach().clone()

    def restore() -> None:
        # Only what changed, since a graph in waiting may hold the tensor and count its versions.
        if tensor.shape != content.shape:
            tensor.data = content
        elif tensor.layout != torch.strided or not torch.equal(tensor, content):
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                tensor.detach().copy_(content)

    return restore


def _snapshot_array(array: Any) -> Restore:
    content = array.copy()
    return lambda: None if np.array_equal(array, content) else np.copyto(array, content)


def _refill_buffers(module: nn.Module, buffers: dict[str, Any]) -> None:
    """Put a module's buffers back; a scripted module keeps them where Python only sees them one by one."""
    if not isinstance(module, torch.jit.ScriptModule):
        _refill(module._buffers, buffers)
        return
    for name, buffer in buffers.items():
        setattr(module, name, buffer)


def _refill(mapping: dict[Any, Any], items: dict[Any, Any]) -> None:
    """Put entries back where any changed, past methods of the user's own classes that forbid it."""
    if list(mapping) == list(items) and all(mapping[key] is items[key] for key in items):
        return
    base: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict
    base.clear(mapping)
    base.update(mapping, items)


def _refill_entries(value: Any, entries: list[Any]) -> None:
    if len(value) == len(entries) and all(map(operator.is_, value, entries)):
        return
    base: Any = next(kind for kind in (list, set, deque) if isinstance(value, kind))
    base.clear(value)
    (base.update if base is set else base.extend)(value, entries)
