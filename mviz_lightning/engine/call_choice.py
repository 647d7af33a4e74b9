"""Find out how the user's model is called, without a line of the user's code where that is possible."""

import inspect
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from mviz_lightning.batch.discovery import describe_leaves
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.forward_arguments import candidate_calls
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import ModelCall, Predict
from mviz_lightning.engine.model_outputs import ModelOutputs
from mviz_lightning.errors import ConfigurationError, MonitorWarning, describe_error


def choose_call(module: nn.Module, schema: BatchSchema, batch: Any, predict: Predict | None) -> ModelCall:
    """Return the first call for which the model returns scores.

    Args:
        module: The model.
        schema: Where the modalities live in the batch.
        batch: A few examples.
        predict: The user's own call; the only one that is tried if it is given.

    Raises:
        ConfigurationError: No call works; the message lists what was tried and shows the function to write.
    """
    candidates = candidate_calls(module, schema) if predict is None else [ModelCall("predict(module, batch)", predict)]
    failures = []
    for call in candidates:
        try:
            outputs = call.predict(module, batch)
            described = ModelOutputs.of(outputs)
        except Exception as error:  # a wrong call may raise anything
            if ran_out(error):
                raise
            failures.append(f"  {call.description}: {describe_error(error).partition(chr(10))[0][:300]}")
        else:
            _warn_of_order(call)
            return replace(call, outputs=described)
    tried = "\n".join(failures)
    raise ConfigurationError(
        f"no call of {type(module).__name__} returned scores. Tried:\n{tried}\n"
        f"on a batch with the leaves {describe_leaves(batch)}. {_call_advice(module, schema, batch)}"
    )


def _call_advice(module: nn.Module, schema: BatchSchema, batch: Any) -> str:
    """Return what to write if no call returns scores."""
    if not _has_forward(module):
        return _advice_without_forward(module, schema, batch)
    return (
        "Write the call yourself and pass it as predict=:\n"
        "    def predict(module, batch):\n"
        f"        outputs = module({_arguments(module, schema)})  # a call as in your validation_step\n"
        "        return outputs  # a (batch, outputs) tensor of logits or values"
    )


def _advice_without_forward(module: nn.Module, schema: BatchSchema, batch: Any) -> str:
    """Propose the call of a submodule that returns scores; if none does, name the submodules."""
    children = dict(module.named_children())
    missing = f"{type(module).__name__} has no forward; its submodules are: {', '.join(children) or 'none'}."
    for child, submodule in children.items():
        for call in candidate_calls(submodule, schema):
            with suppress(Exception):
                output = ModelOutputs.of(call.predict(submodule, batch)).taken
                return f"{missing} To call {child}, {call.advice(output, _attribute(child))}."
    return (
        f"{missing} Add a method forward(self, batch) to it, or pass predict=, a function that takes (module, batch), "
        "makes the calls of your validation_step and returns a (batch, outputs) tensor."
    )


def _attribute(child: str) -> str:
    return f".{child}" if child.isidentifier() else f'.get_submodule("{child}")'


def _has_forward(module: nn.Module) -> bool:
    """Tell whether the user wrote a ``forward``: torch's own only raises, and Lightning's own calls torch's."""
    return getattr(module.forward, "__qualname__", "") not in ("_forward_unimplemented", "LightningModule.forward")


def _arguments(module: nn.Module, schema: BatchSchema) -> str:
    """Return the first argument by name, or all modalities if the parameters have no names."""
    first = next(iter(inspect.signature(module.forward).parameters.values()), None)
    if first is not None and first.kind in (first.POSITIONAL_OR_KEYWORD, first.KEYWORD_ONLY):
        return f"{first.name}=..."
    return ", ".join(schema.code(schema.keys[paths[0]]) for paths in schema.values.values())


def _warn_of_order(call: ModelCall) -> None:
    """Warn if the leaves of a mapping are matched by order: they may meet the wrong parameters."""
    if call.by_order and any(isinstance(way[0], str) for way in call.ways):
        warnings.warn(
            "the parameters of forward have other names than the modalities and the leaves of the batch, so leaves "
            f"are passed in the order in which modalities were declared: {call.description}. "
            f"If this order is wrong, {call.advice()} with the arguments in your model's order.",
            MonitorWarning,
            stacklevel=2,
        )
