"""The fused features of a model: the input of its last linear layer."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import scores
from mviz_lightning.engine.module_calls import CallKey, wrapped_calls
from mviz_lightning.errors import ConfigurationError


@runtime_checkable
class VectorReader(Protocol):
    """Reads the vector of each example from a language model's vectors at all tokens."""

    def vectors(self, found: Tensor, batch: Any) -> Tensor | None:
        """Return ``(B, D)`` of ``(B, T, D)``; None where there is none."""


def vectors_of(predict: Predict, found: Tensor, batch: Any) -> Tensor:
    """Return what a submodule takes or returns; for a language model, only the vectors where its outputs are read.

    Args:
        predict: Calls the model.
        found: ``(B, ...)``.
        batch: What the model was called with.
    """
    read = predict.vectors(found, batch) if isinstance(predict, VectorReader) else None
    return found if read is None else read


def find_layer(module: nn.Module, predict: Predict, batch: Any) -> str:
    """Return the name of the linear layer whose output is the scores; without one, the last linear layer called.

    Args:
        module: The model.
        predict: Calls the model.
        batch: A few rows.

    Raises:
        ConfigurationError: No linear layer returns one vector per row.
    """
    called: dict[str, Tensor] = {}
    with wrapped_calls(module, partial(noting_outputs, called), _linear(module)):
        found = scores(predict(module, batch))
    called = {name: vectors_of(predict, outputs, batch) for name, outputs in called.items()}
    fitting = [name for name, outputs in called.items() if outputs.dim() == 2 and len(outputs) == len(found)]
    same = [name for name in fitting if torch.equal(called[name].flatten(), found.flatten())]
    if not fitting:
        raise ConfigurationError(
            f"layer=None: {type(module).__name__} calls no linear layer on one vector for each example, so its fused "
            "features are not known. Pass layer=, the name of a submodule as in model.named_modules()."
        )
    return (same or fitting)[-1]


def with_features(predict: Predict, layer: str) -> Callable[[nn.Module, Any], Tensor]:
    """Return a call of the model that returns a submodule's input and then the scores, ``(B, F + C)``.

    Args:
        predict: Calls the model.
        layer: Name of the submodule. The features are the first tensor among the arguments of its last call, flattened;
            for a language model, its entry at the token that is read.

    Returns:
        The call; it raises a ``ConfigurationError`` if the submodule is not called, gets no tensor, or gets a tensor
        without one entry per row.
    """

    def call(module: nn.Module, batch: Any) -> Tensor:
        inputs: dict[str, Tensor] = {}
        with wrapped_calls(module, partial(noting_inputs, inputs), {layer}):
            outputs = scores(predict(module, batch))
        if layer not in inputs:
            raise ConfigurationError(f"layer={layer!r} is not called in this model's forward; name another submodule.")
        features = vectors_of(predict, inputs[layer], batch).flatten(1)
        if len(features) != len(outputs):
            raise ConfigurationError(
                f"layer={layer!r} is given {tuple(inputs[layer].shape)} for {len(outputs)} examples; name a submodule "
                "whose input has one entry per example."
            )
        return torch.cat([features.to(outputs.dtype), outputs], 1)

    return call


def require_layer(module: nn.Module, layer: str) -> None:
    """Check that a model has a submodule of this name.

    Raises:
        ConfigurationError: It has none.
    """
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        near = ", ".join(names[-8:])
        raise ConfigurationError(f"layer={layer!r}: the model has no such submodule; the last ones are {near}.")


def _linear(module: nn.Module) -> set[str]:
    return {name for name, child in module.named_modules() if isinstance(child, nn.Linear)}


def noting_outputs(called: dict[str, Tensor], key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapped call of a submodule that stores its output; the entry of the last call comes last."""

    def call(*args: Any, **kwargs: Any) -> Any:
        called.pop(key[0], None)
        called[key[0]] = original(*args, **kwargs)
        return called[key[0]]

    return call


def noting_inputs(inputs: dict[str, Tensor], key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapped call of a submodule that stores the first tensor among its arguments."""

    def call(*args: Any, **kwargs: Any) -> Any:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if given is None:
            raise ConfigurationError(f"layer={key[0]!r} is given no tensor; name another submodule.")
        inputs[key[0]] = given.clone()  # the layer may change its input in place
        return original(*args, **kwargs)

    return call
