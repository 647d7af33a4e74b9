"""The positions of tokens in models that count them by the attention mask."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

PositionCounter: TypeAlias = Callable[[Mapping[str, Any]], Tensor]
"""(arguments of the model by name, the mask ``(B, T)`` among them) -> positions as the model takes them."""


def position_counter(module: nn.Module) -> PositionCounter | None:
    """Return how a model counts the positions of tokens; None where they do not follow from the attention mask.

    Models that count by the mask have a ``get_rope_index``, whose positions ``(3, B, T)`` include places in pictures,
    or an embedding of positions that takes the mask.

    Args:
        module: A language model.
    """
    for child in module.modules():
        index = getattr(child, "get_rope_index", None)
        if callable(index):
            return _by_index(index)
    embeddings = (child for child in module.modules() if isinstance(child, nn.Embedding))
    return (
        _counted if any("attention_mask" in inspect.signature(one.forward).parameters for one in embeddings) else None
    )


def _by_index(index: Callable[..., Any]) -> PositionCounter:
    taken = inspect.signature(index).parameters
    return lambda given: index(**{name: value for name, value in given.items() if name in taken})[0]


def _counted(given: Mapping[str, Any]) -> Tensor:
    mask: Tensor = given["attention_mask"]
    return (mask.cumsum(1) * mask - 1).long()
