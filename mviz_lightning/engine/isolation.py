"""Run the user's model in evaluation mode and restore everything afterwards.

Restored, also after an error, is all that an evaluation may change: random states, gradients, modules' attributes and
modes, buffers, metrics, logged values. Values of parameters are not changed, and data loaders are not iterated.
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
"""Puts one thing back as it was."""

CONTAINERS = (dict, list, set, deque)
"""Types of containers that can change in place."""

SNAPSHOT_TYPES = (*CONTAINERS, tuple, Tensor, np.ndarray, torch.Generator, random.Random, np.random.Generator)
"""Types of values that can change in place, or that can hold such values."""

LARGEST_STATE = 1000
"""Largest number of entries of a container whose entries are restored too.

A larger container holds data, a replay buffer for example, and no state.
"""


@contextmanager
def isolated(module: nn.Module, *, seed: int = 0) -> Iterator[None]:
    """Put a module in evaluation mode without gradients inside the block; restore everything after it.

    Inside the block:

    - Random numbers are seeded with ``seed``.
    - ``log`` and ``log_dict`` of a LightningModule do nothing.
    - Compiled modules run eagerly: their hooks would not run otherwise, and every new batch size would recompile them.
    - Attention runs as in training and not on the fast path for evaluation, which gives other outputs on padded rows.

    Args:
        module: The user's model.
        seed: Seed of the random numbers that a forward may draw.

    Raises:
        ConfigurationError: A lazy layer of the module is not initialised yet.
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
    """Refuse lazy layers: a forward would initialise them with random numbers that belong to the training."""
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(tensor):
            raise ConfigurationError(
                f"the lazy layer of {name!r} is not initialised yet; call the model once on a batch before "
                "trainer.fit(), which optimizers and distributed training need too."
            )


def _seed(seed: int) -> None:
    """Seed exactly the generators that are restored afterwards; those of unused CUDA devices are not touched."""
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
    """Restore the global random states of Python, NumPy and PyTorch after the block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - data sets draw from the global state
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
    """Hide a LightningModule's ``log`` and ``log_dict``; restoring its attributes brings them back."""
    if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__):
        vars(module).update(log=_ignore, log_dict=_ignore)


def _ignore(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _restore_all(restores: list[Restore]) -> None:
    """Call all of them, even if one fails; then raise the first error."""
    failures = []
    for restore in restores:
        try:
            restore()
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _hide_gradient(parameter: nn.Parameter) -> Restore:
    """Remove a parameter's gradient and return how to restore it: a backward pass would add to it in place."""
    gradient, required, content = parameter.grad, parameter.requires_grad, parameter.data
    parameter.grad = None

    def restore() -> None:
        # Layers that bound their weights assign to .data in forward. Sharded parameters have no address.
        if type(parameter) is nn.Parameter and parameter.data_ptr() != content.data_ptr():
            parameter.data = content
        parameter.requires_grad_(required)
        parameter.grad = gradient

    return restore


def _snapshot(module: nn.Module) -> Restore:
    """Return how to restore a module's attributes and their content: mode, buffers, metric states, caches, hooks."""
    attributes = dict(vars(module))
    buffers = dict(module._buffers.items())
    held = [value for name, value in attributes.items() if name != "_buffers"]
    contents = _snapshot_contents([*held, *buffers.values()])
    if getattr(module, "max_norm", None) is not None and isinstance(module.weight, Tensor):
        contents.append(
            _snapshot_tensor(module.weight)
        )  # such an embedding rescales the vectors that it looks up, in place
    training = module.training

    def restore() -> None:
        for name in vars(module).keys() - attributes.keys():
            del vars(module)[name]
        vars(module).update(attributes)
        _refill_buffers(module, buffers)
        _restore_all(contents)
        if module.training != training:  # scripted modules keep it outside their attributes
            module.training = training

    return restore


def _snapshot_contents(values: Iterable[Any]) -> list[Restore]:
    """Return how to restore the content of tensors and containers, and of containers in them, outer ones first."""
    found, seen = [], set()
    waiting = deque(values)
    while waiting:
        value = waiting.popleft()
        if isinstance(value, SNAPSHOT_TYPES) and id(value) not in seen:
            seen.add(id(value))
            found.append(_snapshot_content(value))
            if isinstance(value, (*CONTAINERS, tuple)) and len(value) <= LARGEST_STATE:
                held = dict.values(value) if isinstance(value, dict) else value
                waiting.extend(inner for inner in held if isinstance(inner, SNAPSHOT_TYPES))
    return found


def _snapshot_content(value: Any) -> Restore:
    """Return how to restore the content of one tensor or container after in-place changes."""
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
        # Only if it changed: an autograd graph may hold the tensor and checks its version.
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
    """Restore a module's buffers; those of a scripted module can only be set one by one."""
    if not isinstance(module, torch.jit.ScriptModule):
        _refill(module._buffers, buffers)
        return
    for name, buffer in buffers.items():
        setattr(module, name, buffer)


def _refill(mapping: dict[Any, Any], items: dict[Any, Any]) -> None:
    """Restore a mapping if it changed, with the base class's methods: the user's own class may forbid changes."""
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
