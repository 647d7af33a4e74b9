"""One way of calling the user's model on a batch."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.argument import Argument
from mviz_lightning.engine.model_outputs import NO_OUTPUTS, ModelOutputs
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.errors import ConfigurationError, message_of
from mviz_lightning.errors.arguments import in_short

Predict: TypeAlias = Callable[[Any, Any], Any]
"""``(module, batch) -> outputs``"""


@dataclass(frozen=True)
class ModelCall:
    """One way of calling the model.

    Attributes:
        description: The call in messages: ``forward(image=pixel_values)``.
        predict: Calls the model.
        arguments: The arguments as Python code, ``batch["image"], batch["text"]``; None for the user's own ``predict``.
        passed: The parts of the batch that are passed.
        by_order: Whether these are matched with parameters by their order alone.
        child: Python code from the model to the submodule that is called: ``.net``; empty for the model itself.
        remark: A line for the log about what is unusual in the call; mostly empty.
        outputs: What the model returned when the call was tried.
        axes: Where positions and classes are in what it returned; None where an example has one row of scores.
        observed: Whether these are the scores that the user's own step gives to its loss or metric.
    """

    description: str
    predict: Predict
    arguments: str | None = None
    passed: tuple[Argument, ...] = (Argument(),)
    by_order: bool = False
    child: str = ""
    remark: str = ""
    outputs: ModelOutputs = NO_OUTPUTS
    axes: PositionAxes | None = None
    observed: bool = False

    @property
    def whole(self) -> bool:
        """Whether the batch is passed as one argument, so that the model itself takes its inputs from it."""
        return self.arguments == "batch"

    def passes(self, schema: BatchSchema) -> bool:
        """Return whether the call passes a leaf of every modality to the model."""
        return all(self.passes_any(schema, paths) for paths in schema.values.values())

    def passes_any(self, schema: BatchSchema, paths: Iterable[str]) -> bool:
        """Return whether the call passes any of these leaves to the model."""
        return any(argument.holds(schema, path) for path in paths for argument in self.passed)

    def advice(self, output: str = "") -> str:
        """Return advice on ``predict=`` for this call, as the second half of a sentence.

        Args:
            output: Python code from what the model returns to the scores: ``[1]``.
        """
        return self.computing(f"outputs{output}")

    def computing(self, scores: str) -> str:
        """Return :meth:`advice` on scores that are computed from what the model returns.

        Args:
            scores: Python code that begins with ``outputs``, what the model returns: ``outputs[0] @ outputs[1].T``.
        """
        if self.arguments is None:
            return f"return {scores} from the function that you pass as predict="
        call = f"module{self.child}({self.arguments})"
        named = call if scores.count("outputs") == 1 else f"(outputs := {call})"
        return f"pass predict=lambda module, batch: {scores.replace('outputs', named, 1)}"

    def remedy(self, output: str) -> str:
        """Return :meth:`advice` on reading an output, as a complete sentence."""
        advice = self.advice(output)
        return f"{advice[0].upper()}{advice[1:]}."


def resolve_function(function: Any, argument: str = "predict") -> Any:
    """Import a function that is given as a dotted path, ``package.module.function``.

    Args:
        function: The path; a function and None are returned as they are.
        argument: The argument's name in errors.

    Raises:
        ConfigurationError: The path cannot be imported, or what is given cannot be called.
    """
    if not isinstance(function, str):
        if function is not None and not callable(function):
            raise ConfigurationError(f"{argument}={in_short(function)}: give a function, or package.module.function.")
        return function
    module, _, name = function.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{argument}={function!r} cannot be imported ({message_of(error)}); give package.module.function."
        ) from None
    if not callable(found):
        raise ConfigurationError(
            f"{argument}={function!r} is a {type(found).__name__}, not a function; give package.module.function."
        )
    return found
