"""The fused features of a model: what its last linear layer is given."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.engine.calling import Predict, scores
from mviz_lightning.engine.dependency_trace import CallKey, wrapped
from mviz_lightning.errors import ConfigurationError


def find_layer(module: nn.Module, predict: Predict, batch: Any) -> str:
    """Return the name of the linear layer whose output is the scores, or else of the last one that was called.

    Args:
        module: The model.
        predict: How it is called.
        batch: A few rows.

    Raises:
        ConfigurationError: No linear layer is called with one vector for each row.
    """
    called: dict[str, Tensor] = {}
    with wrapped(module, lambda key, original: _noting(called, key, original), _linear(module)):
        found = scores(predict(module, batch))
    fitting = [name for name, outputs in called.items() if outputs.dim() == 2 and len(outputs) == len(found)]
    same = [name for name in fitting if torch.equal(called[name].flatten(), found.flatten())]
    if not fitting:
        raise ConfigurationError(
            f"layer: {type(module).__name__} calls no linear layer on one vector for each example, so that its fused "
            "features are not known. Say layer= with the name of a submodule, as in named_modules()."
        )
    return (same or fitting)[-1]


def with_features(predict: Predict, layer: str) -> Callable[[nn.Module, Any], Tensor]:
    """Return a call that gives, for each row, what a submodule is given and then the scores, ``(B, F + C)``.

    Args:
        predict: How the model is called.
        layer: Name of the submodule; its first argument counts, flattened, of its last call.
    """

    def call(module: nn.Module, batch: Any) -> Tensor:
        inputs: dict[str, Tensor] = {}
        with wrapped(module, lambda key, original: _catching(inputs, key, original), {layer}):
            outputs = scores(predict(module, batch))
        if layer not in inputs:
            raise ConfigurationError(f"layer={layer!r} is not called in this model's forward; name another submodule.")
        features = inputs[layer].flatten(1)
        if len(features) != len(outputs):
            raise ConfigurationError(
                f"layer={layer!r} is given {tuple(inputs[layer].shape)} for {len(outputs)} examples; name a submodule "
                "whose input has one entry for each."
            )
        return torch.cat([features.to(outputs.dtype), outputs], 1)

    return call


def require_layer(module: nn.Module, layer: str) -> None:
    """Check that a model has a submodule of that name.

    Raises:
        ConfigurationError: It has not.
    """
    names = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        near = ", ".join(names[-8:])
        raise ConfigurationError(f"layer={layer!r}: the model has no such submodule; the last ones are {near}.")


def _linear(module: nn.Module) -> set[str]:
    return {name for name, child in module.named_modules() if isinstance(child, nn.Linear)}


def _noting(called: dict[str, Tensor], key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        called.pop(key[0], None)  # so that the last called stands last
        called[key[0]] = original(*args, **kwargs)
        return called[key[0]]

    return call


def _catching(inputs: dict[str, Tensor], key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if given is None:
            raise ConfigurationError(f"layer={key[0]!r} is given no tensor; name another submodule.")
        inputs[key[0]] = given.clone()  # the layer may work in place
        return original(*args, **kwargs)

    return call
