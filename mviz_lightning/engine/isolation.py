"""Run the user's model in evaluation mode and restore everything afterwards.

Everything that an evaluation may change is restored, also after an error: random states, gradients, modules' attributes
and modes, buffers, metrics, logged values. Values of parameters are not changed, and data loaders are not iterated.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mviz_lightning.engine.generators import Generators, cuda_devices
from mviz_lightning.engine.held_state import HeldState
from mviz_lightning.engine.snapshots import ignore, restore_at_exit
from mviz_lightning.engine.tensor_copies import TensorCopies
from mviz_lightning.errors import NotMeasurableError


@contextmanager
def isolated(module: nn.Module, *, seed: int | None = 0) -> Iterator[Generators]:
    """Put a module in evaluation mode without gradients inside the block; restore everything after it.

    Inside the block:

    - All generators are seeded: those of Python, NumPy and PyTorch, and those that the module holds as attributes.
    - ``log`` and ``log_dict`` of a LightningModule do nothing.
    - Compiled modules run eagerly: their hooks would not run otherwise, and every new batch size would recompile them.
    - Attention runs as in training and not on the fast path for evaluation, which gives other outputs on padded rows.

    Args:
        module: The user's model.
        seed: Seed of the random numbers that a forward may draw. Inside another evaluation, None continues its random
            numbers; elsewhere None means 0.

    Yields:
        The generators.

    Raises:
        NotMeasurableError: A lazy layer of the module is not initialised yet.
    """
    _refuse_lazy(module)
    running = Generators.running() if seed is None else None
    with ExitStack() as stack:
        if running is None:
            stack.enter_context(random_states())
        stack.enter_context(_mha_slow_path())
        stack.enter_context(_without_autocast_cache())
        held = HeldState(module)
        restore_at_exit(stack, held.restores)
        stack.enter_context(TensorCopies.shared().put_back(held.tensors))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        generators = running or stack.enter_context(Generators(held.generators).seeded(seed or 0))
        held.mute()
        module.eval()
        _mute_logging(module)
        yield generators


def _refuse_lazy(module: nn.Module) -> None:
    """Refuse lazy layers: a forward would initialise them with random numbers that belong to the training."""
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(tensor):
            raise NotMeasurableError(
                f"the lazy layer of {name!r} is not initialised yet; call the model once on a batch before "
                "trainer.fit(), which optimizers and distributed training need too."
            )


@contextmanager
def random_states() -> Iterator[None]:
    """Restore the global random states of Python, NumPy and PyTorch after the block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - data sets draw from the global state
    try:
        with torch.random.fork_rng(cuda_devices()):
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


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Keep casts of weights out of the cache of an autocast around the block.

    PyTorch before 2.10 would use these casts after the block. They were made without gradients, so the training would
    not reach the weights.
    """
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


def lightning_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the LightningModules in a module, itself included, of ``lightning`` and of ``pytorch_lightning``."""
    for child in module.modules():
        if any(kind.__name__ == "LightningModule" for kind in type(child).__mro__):
            yield child


def _mute_logging(module: nn.Module) -> None:
    """Hide the LightningModules' ``log`` and ``log_dict``; restoring their attributes brings them back."""
    for child in lightning_modules(module):
        vars(child).update(log=ignore, log_dict=ignore)
