"""Models without a ``forward`` of their own, whose steps call a submodule: find the one that can be called."""

from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.forward_arguments import candidate_calls
from mviz_lightning.engine.model_call import ModelCall

Try = Callable[[ModelCall], ModelCall | None]
"""Tries a call. Returns the call with the model's outputs, or None if these contain no scores."""


def has_forward(module: nn.Module) -> bool:
    """Return whether the user wrote a ``forward``: torch's own only raises, and Lightning's own calls torch's."""
    return getattr(module.forward, "__qualname__", "") not in ("_forward_unimplemented", "LightningModule.forward")


def child_calls(
    module: nn.Module, schema: BatchSchema, attempt: Try, called: Container[str] | None = None
) -> Iterator[ModelCall]:
    """Yield the first call that works of each child that returns scores.

    A child without parameters is not a model: a loss or a distance also accepts two modalities.

    Args:
        module: The model.
        schema: Where the modalities are in the batch.
        attempt: Tries a call.
        called: Names of the submodules that may replace the model, judging by the user's own step; None where they are
            not known.
    """
    for name, child in module.named_children():
        may_be = any(True for _ in child.parameters()) and (called is None or name in called)
        calls = candidate_calls(child, schema) if may_be else []
        working = (attempt(_of_child(call, name)) for call in calls)
        found = next((call for call in working if call is not None), None)
        yield from [] if found is None else [found]


def _of_child(call: ModelCall, name: str) -> ModelCall:
    def predict(module: Any, batch: Any) -> Any:
        return call.predict(module.get_submodule(name), batch)

    child = f".{name}" if name.isidentifier() else f'.get_submodule("{name}")'
    return replace(call, description=f"{name}.{call.description}", predict=predict, child=child)
