"""Match the leaves of a batch with the parameters of a model's ``forward``."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from mviz_lightning.batch import tree
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.model_call import ModelCall


def candidate_calls(module: nn.Module, schema: BatchSchema) -> list[ModelCall]:
    """Return the ways in which the model's ``forward`` may take the batch, the most specific first.

    Leaves are matched with the parameters of ``forward`` by name, else by order; else the batch is passed whole.

    Args:
        module: The model.
        schema: Where the modalities live in the batch.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = {p.kind for p in parameters}
    keywords, positional = inspect.Parameter.VAR_KEYWORD in kinds, inspect.Parameter.VAR_POSITIONAL in kinds
    free = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    found = [_whole("batch")] if len(free) == 1 and free[0].name == "batch" else []
    found += _by_name(free, schema, keywords=keywords)
    found += _by_order(free, schema, at_most=len(schema.paths) if positional else len(free))
    whole = [_spread()] if keywords and not free else [_whole(free[0].name)] if free else []
    passing = [call for call in [*found, *whole] if call.passes(schema)]
    return list({call.description: call for call in passing}.values())


def _whole(parameter: str) -> ModelCall:
    return ModelCall(f"forward({parameter}=batch)", lambda module, batch: module(batch), "batch")


def _spread() -> ModelCall:
    return ModelCall("forward(**batch)", lambda module, batch: module(**batch), "**batch")


def _by_name(free: list[inspect.Parameter], schema: BatchSchema, *, keywords: bool) -> list[ModelCall]:
    """Match parameters with modalities, leaves or top-level entries of the batch of the same name."""
    known = _nodes_by_name(schema)
    bound = {p.name: known[p.name] for p in free if p.name in known and p.kind is not p.POSITIONAL_ONLY}
    if not bound or any(p.default is p.empty and p.name not in bound for p in free):
        return []
    entries = {way[0]: way[:1] for way in schema.keys.values() if isinstance(way[0], str)}
    taken = {way[0] for way in bound.values()} | set(schema.labels)
    rest = {name: way for name, way in entries.items() if name not in taken and name not in bound}
    choices = [bound | rest, bound] if keywords and rest else [bound]
    return [_keyword(choice, schema) for choice in choices]


def _keyword(bound: Mapping[str, tree.Keys], schema: BatchSchema) -> ModelCall:
    description = ", ".join(f"{name}={tree.path(way)}" for name, way in bound.items())
    arguments = ", ".join(f"{name}={schema.code(way)}" for name, way in bound.items())

    def predict(module: Any, batch: Any) -> Any:
        return module(**{name: tree.get(batch, way) for name, way in bound.items()})

    return ModelCall(f"forward({description})", predict, arguments, tuple(bound.values()))


def _nodes_by_name(schema: BatchSchema) -> dict[str, tree.Keys]:
    """Return what a parameter's name may stand for, without the labels: no prediction should need them."""
    ways = {path: schema.keys[path] for path in schema.owners if path not in schema.labels}
    entries = {way[0]: way[:1] for way in ways.values() if isinstance(way[0], str)}
    modalities = {name: schema.keys[paths[0]] for name, paths in schema.values.items()}
    leaves = {str(way[-1]): way for way in reversed(ways.values())}
    return leaves | modalities | entries


def _by_order(free: list[inspect.Parameter], schema: BatchSchema, *, at_most: int) -> list[ModelCall]:
    """Match parameters by order with the modalities' leaves, with all leaves but the labels, or with their containers.

    A tuple or list has an order of its own. A mapping gets the order in which the modalities were declared.
    """
    required = sum(p.default is p.empty for p in free)
    paths = [path for path in schema.paths if path not in schema.labels]
    owned = [path for path in paths if path not in schema.unowned]
    if any(isinstance(schema.keys[path][0], str) for path in owned):
        owned = [path for declared in schema.values.values() for path in declared]
    choices = [owned, paths]
    ways = [[schema.keys[path] for path in choice] for choice in choices]
    ways += [[(key,) for key in dict.fromkeys(schema.keys[path][0] for path in choice)] for choice in choices]
    fitting = [way for way in ways if max(1, required) <= len(way) <= at_most]
    distinct = list(dict.fromkeys(tuple(way) for way in fitting))
    return [_positional(way, schema) for way in distinct]


def _positional(ways: tuple[tree.Keys, ...], schema: BatchSchema) -> ModelCall:
    description, arguments = (", ".join(map(spell, ways)) for spell in (tree.path, schema.code))

    def predict(module: Any, batch: Any) -> Any:
        return module(*[tree.get(batch, way) for way in ways])

    return ModelCall(f"forward({description})", predict, arguments, ways, by_order=True)
