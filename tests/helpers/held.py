"""Tells whether anything that a module holds has changed, in a way that knows nothing of how it is put back."""

import random
from collections import deque
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def picture(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """Return something comparable of all that an object holds: identities, and the bits of tensors and arrays."""
    seen = {} if seen is None else seen
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) in seen:
        return id(value)
    seen[id(value)] = value
    return id(value), type(value).__name__, [picture(part, seen) for part in parts(value)]


def parts(value: Any) -> list[Any]:
    if isinstance(value, Tensor):
        gradient = None if not value.is_leaf else value.grad
        address = value.data_ptr() if isinstance(value, nn.Parameter) else None
        return [str(value.shape), value.requires_grad, bits(value), address, gradient]
    if isinstance(value, np.ndarray):
        return list(value) if value.dtype == object else [str(value.tobytes())]
    if isinstance(value, (torch.Generator, partial)):
        return [bits(value.get_state())] if isinstance(value, torch.Generator) else [*value.args, value.keywords]
    if isinstance(value, (np.random.RandomState, random.Random)):
        return [str(value.get_state() if isinstance(value, np.random.RandomState) else value.getstate())]
    found = list(value.values()) + list(value) if isinstance(value, dict) else []
    found += list(value) if isinstance(value, (list, tuple, set, deque)) else []
    found += [getattr(value, name, "absent") for name in getattr(type(value), "__slots__", ())]
    own = not isinstance(value, (type, torch.Size)) and type(value).__module__.partition(".")[0] != "builtins"
    return (
        found + [part for entry in sorted(vars(value).items()) for part in entry]
        if own and hasattr(value, "__dict__")
        else found
    )


def bits(tensor: Tensor) -> str:
    if tensor.layout != torch.strided:
        return str(tensor.to_dense().tolist())
    return str(tensor.detach().clone().contiguous().view(-1).view(torch.uint8).tolist())


def held(module: nn.Module) -> str:
    """Return the picture as text, which keeps no tensor alive."""
    return repr(picture(module))
