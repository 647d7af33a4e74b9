"""Replace methods of the user's objects for the time of one call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torchmetrics import Metric

from mviz_lightning.engine.devices import is_sharded
from mviz_lightning.engine.snapshots import CONTAINERS


@contextmanager
def shadowed(owner: Any, name: str, wrapped: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a method of one object in the block, and put back exactly what was there."""
    own = vars(owner)
    had, before = name in own, own.get(name)
    own[name] = wrapped(getattr(owner, name))
    try:
        yield
    finally:
        if had:
            own[name] = before
        else:
            own.pop(name, None)


def metrics_of(module: nn.Module) -> list[Metric]:
    """Return the metrics of a model, those in its plain containers too."""
    found = {id(child): child for child in module.modules() if isinstance(child, Metric)}
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, CONTAINERS):
                held = value.values() if isinstance(value, dict) else value
                found |= {id(one): one for one in held if isinstance(one, Metric)}
    return list(found.values())


def weight_versions(module: nn.Module) -> list[tuple[int, int]]:
    """Return the addresses of the weights and how often each was written; sharded and lazy ones are left out.

    A forward of a sharded model replaces its parts by whole weights, and may leave them there.
    """
    if is_sharded(module):
        return []
    plain = (weight for weight in module.parameters() if type(weight) is nn.Parameter)
    return [(weight.data_ptr(), weight._version) for weight in plain if not weight.is_inference()]
