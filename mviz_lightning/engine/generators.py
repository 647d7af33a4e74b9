"""The generators that a forward may draw from: those of Python, NumPy and PyTorch, and those that the module holds."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np
import torch

GENERATORS = frozenset({torch.Generator, random.Random, np.random.Generator, np.random.RandomState})
"""Types of generators that a module may hold."""

_RUNNING: ContextVar["Generators | None"] = ContextVar("_RUNNING", default=None)
"""The generators of the evaluation that is running."""


class Generators:
    """All generators that a forward may draw from. This class seeds them; other code restores them.

    Args:
        held: The generators that the module holds.
    """

    def __init__(self, held: Iterable[Any]) -> None:
        self._held = list(held)
        self._start: list[Any] = []
        self.seed = 0

    @classmethod
    def running(cls) -> "Generators | None":
        """Return the generators of the running evaluation; None if none is running."""
        return _RUNNING.get()

    @contextmanager
    def seeded(self, seed: int) -> Iterator["Generators"]:
        """Seed all of them; inside the block, they are the generators of the running evaluation."""
        self.seed = seed
        self.reset()
        self._start = self._states()
        token = _RUNNING.set(self)
        try:
            yield self
        finally:
            _RUNNING.reset(token)

    def reset(self) -> None:
        """Seed all of them again, as at the beginning of the evaluation."""
        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)  # noqa: NPY002 - models that sample draw from the global state
        for generator in (*_of_torch(), *self._held):
            _seed(generator, self.seed)

    @property
    def moved(self) -> bool:
        """Whether any of them was used since they were seeded."""
        return any(now != start for now, start in zip(self._states(), self._start, strict=False))

    def _states(self) -> list[Any]:
        numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        # CUDA generators come last, since the forward may be the first to use their devices.
        generators = (*self._held, *_of_torch())
        return [random.getstate(), _comparable(numpy), *map(state_of, generators)]


def default_generator(device: torch.device) -> torch.Generator | None:
    """Return the generator from which operations on a device draw; None for devices other than CPU and CUDA."""
    if device.type == "cpu":
        return torch.default_generator
    if device.type != "cuda":
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    found: torch.Generator = torch.cuda.default_generators[index]
    return found


def cuda_devices() -> range:
    """Return all CUDA devices if the program has started CUDA; none otherwise, so that nothing starts it here."""
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return range(torch.cuda.device_count() if started else 0)


def state_of(generator: Any) -> Any:
    """Return the state of a generator in a form that ``==`` compares as a whole."""
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy().tobytes()
    if isinstance(generator, random.Random):
        return generator.getstate()
    state = generator.get_state(legacy=False) if isinstance(generator, np.random.RandomState) else None
    return _comparable(generator.bit_generator.state if state is None else state)


def _of_torch() -> list[torch.Generator]:
    return [torch.default_generator, *(torch.cuda.default_generators[device] for device in cuda_devices())]


def _seed(generator: Any, seed: int) -> None:
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        kind: Callable[[int], Any] = type(generator.bit_generator)
        partial(setattr, generator.bit_generator, "state", kind(seed % 2**32).state)()
    else:
        generator.seed(seed % 2**32)


def _comparable(state: Any) -> Any:
    """Return a state in a form that ``==`` compares as a whole."""
    if isinstance(state, dict):
        return {key: _comparable(value) for key, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state
