"""Replace attention that takes no mask of all pairs of tokens, FlashAttention for example, by one that takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

TAKING_PAIRS = ("eager", "sdpa")
"""Names of transformers' attentions that take a mask of all pairs of tokens."""

INSTEAD = "sdpa"
"""The attention that replaces the others."""

NAME = "_attn_implementation"
"""Attribute of a configuration that names its attention; the attribute that stores it has a name with this prefix."""


def other_attentions(module: nn.Module) -> list[str]:
    """Return the names of a model's attentions that may take no mask of all pairs of tokens."""
    return sorted({name for config in _configs(module) if (name := _other(config))})


@contextmanager
def taking_pairs(module: nn.Module) -> Iterator[None]:
    """Inside the block, make a model use attention that takes a mask of all pairs of tokens; restore it afterwards.

    Args:
        module: A model; one that cannot change its attention stays as it is.
    """
    before = [(config, _named(config)) for config in _configs(module)] if other_attentions(module) else []
    try:
        for child in module.modules() if before else ():
            change = getattr(child, "set_attn_implementation", None)
            if _other(getattr(child, "config", None)) and callable(change):
                change(INSTEAD)
        yield
    finally:
        for config, named in before:
            vars(config).update(named)


def _other(config: Any) -> str:
    """Return the name of a configuration's attention; ``""`` where it takes such a mask, or none is named."""
    name = getattr(config, NAME, None)
    return name if isinstance(name, str) and name not in TAKING_PAIRS else ""


def _configs(module: nn.Module) -> list[Any]:
    """Return the configurations of a model, its submodules and its parts, each once."""
    found = [config for child in module.modules() if hasattr(config := getattr(child, "config", None), NAME)]
    inner = [part for config in found for part in vars(config).values() if hasattr(part, NAME)]
    return list({id(config): config for config in (*found, *inner)}.values())


def _named(config: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if name.startswith(NAME)}
