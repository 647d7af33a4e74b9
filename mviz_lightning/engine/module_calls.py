"""Wrap the calls of a model's submodules, for one forward."""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

CallKey: TypeAlias = tuple[str, int]
"""A submodule's name and the number of its call in one forward: ``("encoder", 0)`` is the encoder's first call."""

Wrap: TypeAlias = Callable[[CallKey, Callable[..., Any]], Callable[..., Any]]
"""Takes a call's key and the submodule's own forward, and returns the function that is called instead."""


@contextmanager
def wrapped_calls(module: nn.Module, wrap: Wrap, names: Container[str] | None = None) -> Iterator[None]:
    """Wrap the forwards of submodules inside the block; afterwards the submodules are as they were.

    Scripted submodules are not wrapped: their calls do not pass through Python.

    Args:
        module: The model.
        wrap: Makes the function that is called instead of a submodule's forward.
        names: Names of the submodules to wrap; all by default.
    """
    counts: dict[str, int] = {}

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            key = (name, counts.get(name, 0))
            counts[name] = key[1] + 1
            return wrap(key, original)(*args, **kwargs)

        return forward

    before = {}
    for name, child in module.named_modules():
        if name and (names is None or name in names) and not isinstance(child, torch.jit.ScriptModule):
            before[name] = (child, vars(child).get("forward"))
            vars(child)["forward"] = counted(name, child.forward)
    try:
        yield
    finally:
        for child, forward in before.values():
            if forward is None:
                vars(child).pop("forward", None)
            else:
                vars(child)["forward"] = forward
