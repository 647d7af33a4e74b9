"""Fused features of outputs with positions: the input of the last linear layer or convolution, at each position."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch.rows import plain_tensors
from mviz_lightning.engine.features import noting_inputs, noting_outputs
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import locate_scores
from mviz_lightning.engine.module_calls import wrapped_calls
from mviz_lightning.engine.output_reader import OutputReader
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers that map the features at a position, or around it, to scores."""


@dataclass(frozen=True)
class FeaturedReader:
    """Reads features and outputs of a model that returns both.

    Attributes:
        features: Reads the features.
        outputs: Reads the outputs.
    """

    features: OutputReader
    outputs: OutputReader

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, F + C)`` of a pair of outputs and features."""
        returned, features = outputs
        found = self.outputs(returned, rows)
        return torch.cat([self.features(features, rows).to(found.dtype), found], 1)


def find_map_layer(module: nn.Module, predict: Predict, batch: Any, axes: PositionAxes) -> str:
    """Return the name of the layer whose output is the scores of all positions; without one, the last layer that fits.

    Args:
        module: The model.
        predict: Calls the model.
        batch: A few rows.
        axes: Where positions and classes are in the outputs.

    Raises:
        ConfigurationError: No linear layer or convolution returns a vector for each position.
    """
    called: dict[str, Tensor] = {}
    layers = {name for name, child in module.named_modules() if isinstance(child, LAYERS)}
    with wrapped_calls(module, partial(noting_outputs, called), layers):
        found = _scores(predict(module, batch))
    wanted = len(axes.lattice(tuple(found.shape))) + 2
    fitting = [name for name, outputs in called.items() if outputs.dim() == wanted and len(outputs) == len(found)]
    same = [name for name in fitting if torch.equal(called[name].flatten(), found.flatten())]
    if not fitting:
        raise ConfigurationError(
            f"layer=None: {type(module).__name__} calls no linear layer or convolution that returns a vector for each "
            "position, so its fused features are not known. Pass layer=, the name of a submodule as in "
            "model.named_modules()."
        )
    return (same or fitting)[-1]


def feature_axes(module: nn.Module, layer: str, axes: PositionAxes, count: int) -> PositionAxes:
    """Return where positions and features are in the input of a layer; in that of a linear layer, features are last.

    Args:
        module: The model.
        layer: Name of the submodule.
        axes: Where positions and classes are in the outputs.
        count: Number of axes of positions.
    """
    child = module.get_submodule(layer)
    if isinstance(child, nn.Linear):
        return PositionAxes(count + 1)
    return PositionAxes(1) if isinstance(child, LAYERS) or axes.classes is None else axes


def with_feature_maps(predict: Predict, layer: str, axes: PositionAxes) -> Callable[[nn.Module, Any], Any]:
    """Return a call of the model that returns its scores and a submodule's input, ``(B, ...)`` both.

    Args:
        predict: Calls the model.
        layer: Name of the submodule; the first tensor among the arguments of its last call is taken.
        axes: Where positions and classes are in the outputs.

    Returns:
        The call; it raises a ``ConfigurationError`` if the submodule is not called, or not given a vector for each
        position.
    """

    def call(module: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        inputs: dict[str, Tensor] = {}
        with wrapped_calls(module, partial(noting_inputs, inputs), {layer}):
            found = _scores(predict(module, batch))
        lattice = axes.lattice(tuple(found.shape))
        if layer not in inputs or inputs[layer].dim() != len(lattice) + 2 or len(inputs[layer]) != len(found):
            given = f"given {tuple(inputs[layer].shape)}" if layer in inputs else "not called"
            raise ConfigurationError(
                f"layer={layer!r} is {given} for {len(found)} examples with positions of shape {lattice}; name a "
                f"submodule whose input has {len(lattice)} axes of positions, with a vector at each."
            )
        return found, inputs[layer]

    return call


def _scores(returned: Any) -> Tensor:
    found: Tensor = plain_tensors(locate_scores(returned)[1])
    return found
