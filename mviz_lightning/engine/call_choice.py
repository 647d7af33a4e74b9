"""Find out how the user's model is called, without a line of the user's code where that is possible."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mviz_lightning.batch.discovery import describe_leaves
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.forward_arguments import candidate_calls
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import ModelCall, Predict
from mviz_lightning.engine.model_outputs import ModelOutputs, Output, describe_outputs, locate_scores, other_outputs
from mviz_lightning.errors import ConfigurationError, MonitorWarning, describe_error


def choose_call(module: nn.Module, schema: BatchSchema, batch: Any, predict: Predict | None) -> ModelCall:
    """Return the first call for which the model returns scores.

    Args:
        module: The model.
        schema: Where the modalities live in the batch.
        batch: A few examples.
        predict: The user's own call; the only one that is tried if it is given.

    Raises:
        ConfigurationError: No call works; the message says what to write.
    """
    candidates = candidate_calls(module, schema) if predict is None else [ModelCall("predict(module, batch)", predict)]
    failures = []
    for call in candidates:
        found = _tried(call, module, batch)
        if isinstance(found, ModelCall):
            _warn_of_order(found)
            return found
        failures.append(found)
    raise ConfigurationError(_failure_message(module, schema, batch, failures))


@dataclass(frozen=True)
class _Failure:
    """A call that returned no scores.

    Attributes:
        call: The call.
        error: What it raised, or why what it returned holds no scores.
        outputs: What it returned; None if it raised.
    """

    call: ModelCall
    error: Exception
    outputs: Any = None

    @property
    def called_forward(self) -> bool:
        """Whether ``forward`` was called with nothing around it, or was called and is missing."""
        return self.call.arguments is not None or isinstance(self.error, NotImplementedError)

    def __str__(self) -> str:
        return f"{self.call.description}: {describe_error(self.error).partition(chr(10))[0][:300]}"


def _tried(call: ModelCall, module: nn.Module, batch: Any) -> ModelCall | _Failure:
    """Return the call with what the model returned, or why it gives no scores."""
    outputs = None
    try:
        outputs = call.predict(module, batch)
        return replace(call, outputs=ModelOutputs.of(outputs))
    except Exception as error:  # a wrong call may raise anything
        if ran_out(error):
            raise
        return _Failure(call, error, outputs)


def _failure_message(module: nn.Module, schema: BatchSchema, batch: Any, failures: Sequence[_Failure]) -> str:
    """Return what is wrong, and what to write."""
    for failure in failures:
        others = other_outputs(failure.outputs, schema.size(schema.leaves(batch)))
        flat = [output for output in others if len(output.shape) <= 2]
        if flat:
            return _misplaced(failure, flat)
    headless = not _has_forward(module)
    if headless and all(failure.called_forward for failure in failures):
        return _advice_without_forward(module, schema, batch)
    advice = _advice_without_forward(module, schema, batch) if headless else _call_advice(module, schema, failures)
    tried = "".join(f"\n  {failure}" for failure in failures)
    return (
        f"no call of {type(module).__name__} returned scores. Tried:{tried}\n"
        f"on a batch with the leaves {describe_leaves(batch)}. {advice}"
    )


def _misplaced(failure: _Failure, others: Sequence[Output]) -> str:
    """Return the message of scores that are not where they are looked for, beside a loss for example."""
    place, _ = locate_scores(failure.outputs)
    wrong = f"{place} is not one row of scores per example" if place else 'It has no entry "logits"'
    choice = f" If that is not the scores, write another place than {others[0].code}." if len(others) > 1 else ""
    advice = failure.call.remedy(others[0].code) + choice
    return f"the model returned {describe_outputs(failure.outputs)}. {wrong}. {advice}"


def _call_advice(module: nn.Module, schema: BatchSchema, failures: Sequence[_Failure]) -> str:
    """Return what to write if no call returns scores."""
    return (
        "Write the call yourself and pass it as predict=:\n"
        "    def predict(module, batch):\n"
        f"        outputs = module({_arguments(module, schema, failures)})  # a call as in your validation_step\n"
        "        return outputs  # a (batch, outputs) tensor of logits or values"
    )


def _arguments(module: nn.Module, schema: BatchSchema, failures: Sequence[_Failure]) -> str:
    """Return the arguments of a call that returned anything; else of the first that fits ``forward``, or modalities."""
    returned = [failure.call for failure in failures if failure.outputs is not None]
    written = [call.arguments for call in [*returned, *candidate_calls(module, schema)] if call.arguments]
    values = (schema.code(schema.keys[paths[0]]) for paths in schema.values.values())
    return written[0] if written else ", ".join(values)


def _advice_without_forward(module: nn.Module, schema: BatchSchema, batch: Any) -> str:
    """Propose the call of a submodule that returns scores; if none does, name the submodules.

    The call returns all that the submodule does: which output is read is said once it is tried, as for any model.
    """
    children = dict(module.named_children())
    missing = f"{type(module).__name__} has no forward; its submodules are: {', '.join(children) or 'none'}."
    for child, submodule in children.items():
        for call in candidate_calls(submodule, schema):
            if isinstance(_tried(call, submodule, batch), ModelCall):
                return f"{missing} To call {child}, {call.advice(child=_attribute(child))}."
    return (
        f"{missing} Add a method forward(self, batch) to it, or pass predict=, a function that takes (module, batch), "
        "makes the calls of your validation_step and returns a (batch, outputs) tensor."
    )


def _attribute(child: str) -> str:
    return f".{child}" if child.isidentifier() else f'.get_submodule("{child}")'


def _has_forward(module: nn.Module) -> bool:
    """Tell whether the user wrote a ``forward``: torch's own only raises, and Lightning's own calls torch's."""
    return getattr(module.forward, "__qualname__", "") not in ("_forward_unimplemented", "LightningModule.forward")


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
