"""From a batch to outputs, without a line of the user's code where that is possible."""

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor, nn

from mviz_lightning.batch import tree
from mviz_lightning.batch.discovery import describe
from mviz_lightning.batch.leaves import plain
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.returned import NOTHING, Returned, located
from mviz_lightning.errors import ConfigurationError, MonitorWarning, describe_error, message_of

Predict: TypeAlias = Callable[[Any, Any], Any]
"""``(module, batch) -> outputs``"""


@dataclass(frozen=True)
class Call:
    """One way of calling the model.

    Attributes:
        description: Its name in messages.
        predict: Calls the model.
        arguments: Python code of what is handed over, ``batch["image"], batch["text"]``; None for the user's own call.
        ways: To what is handed over.
        by_order: Whether the order alone says which parameter takes what.
        returned: What the model gave back when the call was tried.
    """

    description: str
    predict: Predict
    arguments: str | None = None
    ways: tuple[tree.Keys, ...] = ((),)
    by_order: bool = False
    returned: Returned = NOTHING

    def passes(self, layout: BatchSchema) -> bool:
        """Tell whether something of every modality is handed over."""
        return all(
            any(layout.keys[path][: len(way)] == way for path in paths for way in self.ways)
            for paths in layout.values.values()
        )

    def advice(self, output: str = "", child: str = "") -> str:
        """Return, as the end of a sentence, what to write for this call.

        Args:
            output: Python code from what is returned to the scores, ``[1]``.
            child: Python code from the model to the submodule that is called, ``.net``.
        """
        if self.arguments is None:
            return f"return outputs{output} from the function that you pass as predict="
        return f"pass predict=lambda module, batch: module{child}({self.arguments}){output}"


def resolve(function: Any, argument: str = "predict") -> Any:
    """Return the function that a dotted path (``package.module.function``) names; what is no string passes through.

    Args:
        function: Or its path.
        argument: As it is called in errors.

    Raises:
        ConfigurationError: There is no such function.
    """
    if not isinstance(function, str):
        return function
    module, _, name = function.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{argument}={function!r} cannot be imported ({message_of(error)}); give package.module.function."
        ) from None
    if not callable(found):
        raise ConfigurationError(f"{argument}={function!r} is no function but a {type(found).__name__}.")
    return found


def calls(module: nn.Module, layout: BatchSchema) -> list[Call]:
    """Return the ways in which the model's forward may take the batch, the most specific first.

    Leaves are bound to the parameters of forward by name, else by order, else the batch is passed whole.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = {p.kind for p in parameters}
    keywords, positional = inspect.Parameter.VAR_KEYWORD in kinds, inspect.Parameter.VAR_POSITIONAL in kinds
    free = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    found = [_whole("batch")] if len(free) == 1 and free[0].name == "batch" else []
    found += _by_name(free, layout, keywords=keywords)
    found += _by_order(free, layout, at_most=len(layout.paths) if positional else len(free))
    whole = [_spread()] if keywords and not free else [_whole(free[0].name)] if free else []
    passing = [call for call in [*found, *whole] if call.passes(layout)]
    return list({call.description: call for call in passing}.values())


def choose(module: nn.Module, layout: BatchSchema, batch: Any, predict: Predict | None) -> Call:
    """Return the first call that gives outputs for the batch.

    Raises:
        ConfigurationError: None does; the message says what was tried and shows the function to write.
    """
    candidates = calls(module, layout) if predict is None else [Call("predict(module, batch)", predict)]
    failures = []
    for call in candidates:
        try:
            outputs = call.predict(module, batch)
            returned = Returned.of(outputs, scores(outputs))
        except Exception as error:  # anything may come out of a model that is called the wrong way
            if ran_out(error):
                raise
            failures.append(f"  {call.description}: {describe_error(error).partition(chr(10))[0][:300]}")
        else:
            _warn_of_order(call)
            return replace(call, returned=returned)
    tried = "\n".join(failures)
    raise ConfigurationError(
        f"no outputs could be had from {type(module).__name__}. Tried:\n{tried}\n"
        f"on a batch with the leaves {describe(batch)}. {_advice(module, layout, batch)}"
    )


def _advice(module: nn.Module, layout: BatchSchema, batch: Any) -> str:
    """Return what to write where no call gives outputs."""
    if not _has_forward(module):
        return _advice_without_forward(module, layout, batch)
    return (
        "Write the call yourself and pass it as predict=:\n"
        "    def predict(module, batch):\n"
        f"        outputs = module({_arguments(module, layout)})  # a call as in your validation_step\n"
        "        return outputs  # a (batch, outputs) tensor of logits or values"
    )


def _advice_without_forward(module: nn.Module, layout: BatchSchema, batch: Any) -> str:
    """Propose the call of a submodule that gives scores; where none does, name the submodules."""
    children = dict(module.named_children())
    missing = f"{type(module).__name__} has no forward; its submodules are: {', '.join(children) or 'none'}."
    for child, part in children.items():
        for call in calls(part, layout):
            with suppress(Exception):
                output = Returned.of(outputs := call.predict(part, batch), scores(outputs)).taken
                return f"{missing} To call {child}, {call.advice(output, _attribute(child))}."
    return (
        f"{missing} Give it one, forward(self, batch), or pass predict=, a function (module, batch) -> (batch, "
        "outputs) tensor that makes the calls of your validation_step."
    )


def _attribute(child: str) -> str:
    return f".{child}" if child.isidentifier() else f'.get_submodule("{child}")'


def _has_forward(module: nn.Module) -> bool:
    """Tell whether there is one of the user's own; torch's only raises, and Lightning's hands on to it."""
    return getattr(module.forward, "__qualname__", "") not in ("_forward_unimplemented", "LightningModule.forward")


def _arguments(module: nn.Module, layout: BatchSchema) -> str:
    """Return the first argument by name, or all modalities where names cannot be used."""
    first = next(iter(inspect.signature(module.forward).parameters.values()), None)
    if first is not None and first.kind in (first.POSITIONAL_OR_KEYWORD, first.KEYWORD_ONLY):
        return f"{first.name}=..."
    return ", ".join(layout.code(layout.keys[paths[0]]) for paths in layout.values.values())


def _warn_of_order(call: Call) -> None:
    """By order, a mapping's leaves may meet the wrong parameters."""
    if call.by_order and any(isinstance(way[0], str) for way in call.ways):
        warnings.warn(
            f"the parameters of forward have other names than the modalities and the leaves of the batch; the model is "
            f"called as {call.description}, handed over in the order in which modalities were declared. "
            "If that is wrong, pass predict=.",
            MonitorWarning,
            stacklevel=2,
        )


def scores(outputs: Any) -> Tensor:
    """Return the tensor of logits or predicted values in what a model returned.

    Args:
        outputs: A tensor, an object with ``.logits``, a mapping with ``"logits"``, or a tuple that starts with one.

    Returns:
        ``(B, C)``; a vector gets one column.

    Raises:
        ConfigurationError: There is no such tensor.
    """
    found = plain(located(outputs)[1])
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.dim() == 0:
        what = describe(outputs) if isinstance(outputs, Mapping | tuple | list) else repr(type(outputs).__name__)
        if isinstance(outputs, Tensor):
            what = f"a {str(outputs.dtype).removeprefix('torch.')} tensor of shape {tuple(outputs.shape)}"
        raise ConfigurationError(
            f"the model returned {what}; expected are floating-point scores (batch, outputs), an object with .logits, "
            'a mapping with "logits", or a tuple that starts with the scores. Say predict= to pick them.'
        )
    if found.dim() > 2:
        raise ConfigurationError(
            f"the model returned scores of shape {tuple(found.shape)}; expected is one row of scores for each example, "
            "(batch, outputs). Say predict= to choose a position, or to average over positions."
        )
    return found if found.dim() == 2 else found.unsqueeze(1)


def _whole(parameter: str) -> Call:
    return Call(f"forward({parameter}=batch)", lambda module, batch: module(batch), "batch")


def _spread() -> Call:
    return Call("forward(**batch)", lambda module, batch: module(**batch), "**batch")


def _by_name(free: list[inspect.Parameter], layout: BatchSchema, *, keywords: bool) -> list[Call]:
    """Bind parameters to modalities or top-level entries of the batch of the same name."""
    known = _named(layout)
    bound = {p.name: known[p.name] for p in free if p.name in known}
    if not bound or any(p.default is p.empty and p.name not in bound for p in free):
        return []
    entries = {way[0]: way[:1] for way in layout.keys.values() if isinstance(way[0], str)}
    taken = {way[0] for way in bound.values()} | set(layout.labels)
    rest = {name: way for name, way in entries.items() if name not in taken and name not in bound}
    choices = [bound | rest, bound] if keywords and rest else [bound]
    return [_keyword(choice, layout) for choice in choices]


def _keyword(bound: Mapping[str, tree.Keys], layout: BatchSchema) -> Call:
    description = ", ".join(f"{name}={tree.path(way)}" for name, way in bound.items())
    arguments = ", ".join(f"{name}={layout.code(way)}" for name, way in bound.items())

    def predict(module: Any, batch: Any) -> Any:
        return module(**{name: tree.get(batch, way) for name, way in bound.items()})

    return Call(f"forward({description})", predict, arguments, tuple(bound.values()))


def _named(layout: BatchSchema) -> dict[str, tree.Keys]:
    """Return what a parameter's name may mean; labels are left out, since no prediction should need them."""
    ways = {path: layout.keys[path] for path in layout.owners if path not in layout.labels}
    entries = {way[0]: way[:1] for way in ways.values() if isinstance(way[0], str)}
    modalities = {name: layout.keys[paths[0]] for name, paths in layout.values.items()}
    leaves = {str(way[-1]): way for way in reversed(ways.values())}
    return leaves | modalities | entries


def _by_order(free: list[inspect.Parameter], layout: BatchSchema, *, at_most: int) -> list[Call]:
    """Bind parameters to leaves by order: of modalities, or all but the labels; or to their containers.

    The order is the batch's own where it has one, and that in which modalities were declared where it is a mapping.
    """
    required = sum(p.default is p.empty for p in free)
    paths = [path for path in layout.paths if path not in layout.labels]
    owned = [path for path in paths if path not in layout.unowned]
    if any(isinstance(layout.keys[path][0], str) for path in owned):
        owned = [path for declared in layout.values.values() for path in declared]
    choices = [owned, paths]
    ways = [[layout.keys[path] for path in choice] for choice in choices]
    ways += [[(key,) for key in dict.fromkeys(layout.keys[path][0] for path in choice)] for choice in choices]
    fitting = [way for way in ways if max(1, required) <= len(way) <= at_most]
    distinct = list(dict.fromkeys(tuple(way) for way in fitting))
    return [_positional(way, layout) for way in distinct]


def _positional(ways: tuple[tree.Keys, ...], layout: BatchSchema) -> Call:
    description, arguments = (", ".join(map(spell, ways)) for spell in (tree.path, layout.code))

    def predict(module: Any, batch: Any) -> Any:
        return module(*[tree.get(batch, way) for way in ways])

    return Call(f"forward({description})", predict, arguments, ways, by_order=True)
