"""Match the leaves of a batch with the parameters of a model's ``forward``."""

import inspect
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.argument import Argument
from mviz_lightning.engine.model_call import ModelCall

LABELS = frozenset({"label", "labels", "start_positions", "end_positions"})
"""Names of leaves that count as labels where the user names no target: Hugging Face models compute a loss from them."""

Parameters = list[inspect.Parameter]


def label_paths(schema: BatchSchema) -> list[str]:
    """Return the leaves with labels; a model gets them only if it cannot be called without them."""
    if schema.target is not None:
        return schema.labels
    return [path for path in schema.unowned if path.rpartition(".")[2] in LABELS]


def candidate_calls(module: nn.Module, schema: BatchSchema) -> list[ModelCall]:
    """Return the ways in which the model's ``forward`` may take the batch, the most specific first.

    Leaves are matched with the parameters of ``forward`` by name, else by order. Else the batch is passed whole, then
    the modalities in one list, tuple or dict. Calls that pass labels come last.

    Args:
        module: The model.
        schema: Where the modalities are in the batch.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = {p.kind for p in parameters}
    keywords, positional = inspect.Parameter.VAR_KEYWORD in kinds, inspect.Parameter.VAR_POSITIONAL in kinds
    free = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    labels = label_paths(schema)
    found = [_whole("batch")] if len(free) == 1 and free[0].name == "batch" else []
    for left_out in [labels, []] if labels else [labels]:
        found += _by_name(free, schema, left_out, keywords=keywords)
        found += _by_order(free, schema, left_out, at_most=len(schema.paths) if positional else len(free))
        found += [_spread(schema, left_out)] if keywords and not free and _entries(schema) else []
        found += [_whole(free[0].name), *_collected(free, schema)] if free else []
    passing = [call for call in found if call.passes(schema)]
    return list({call.description: call for call in passing}.values())


def _whole(parameter: str) -> ModelCall:
    return ModelCall(f"forward({parameter}=batch)", lambda module, batch: module(batch), "batch")


def _spread(schema: BatchSchema, left_out: list[str]) -> ModelCall:
    """Return the call with all entries of the batch but labels as keyword arguments."""
    entries, without = _entries(schema), _entries_of(schema, left_out)
    if not without:
        return ModelCall("forward(**batch)", lambda module, batch: module(**batch), "**batch")
    kept = f"name not in {without!r}" if len(without) > 1 else f"name != {without[0]!r}"
    return ModelCall(
        f"forward(**batch) without {', '.join(without)}",
        lambda module, batch: module(**{name: entry for name, entry in batch.items() if name not in without}),
        f"**{{name: entry for name, entry in batch.items() if {kept}}}",
        tuple(entry for name, entry in entries.items() if name not in without),
    )


def _entries(schema: BatchSchema) -> dict[str, Argument]:
    """Return the entries of a batch that is a mapping or has fields, by name."""
    first = dict.fromkeys(key for keys in schema.keys.values() for key in keys[:1])
    return {key: Argument((key,)) for key in first if isinstance(key, str)}


def _entries_of(schema: BatchSchema, paths: Container[str]) -> list[str]:
    """Return the entries whose leaves are all among these paths."""
    others = {schema.keys[path][:1] for path in schema.owners if path not in paths}
    return [name for name, entry in _entries(schema).items() if entry.keys not in others]


def _by_name(free: Parameters, schema: BatchSchema, left_out: list[str], *, keywords: bool) -> list[ModelCall]:
    """Match parameters with modalities, leaves or top-level entries of the batch of the same name."""
    known = _nodes_by_name(schema, left_out)
    bound = {p.name: known[p.name] for p in free if p.name in known and p.kind is not p.POSITIONAL_ONLY}
    if not bound or any(p.default is p.empty and p.name not in bound for p in free):
        return []
    taken = {key for argument in bound.values() for key in argument.keys[:1]} | set(_entries_of(schema, left_out))
    rest = {name: entry for name, entry in _entries(schema).items() if name not in taken and name not in bound}
    choices = [bound | rest, bound] if keywords and rest else [bound]
    return [_keyword(choice, schema) for choice in choices]


def _keyword(bound: Mapping[str, Argument], schema: BatchSchema) -> ModelCall:
    description = ", ".join(f"{name}={argument.path}" for name, argument in bound.items())
    arguments = ", ".join(f"{name}={argument.code(schema)}" for name, argument in bound.items())

    def predict(module: Any, batch: Any) -> Any:
        return module(**{name: argument.of(batch) for name, argument in bound.items()})

    return ModelCall(f"forward({description})", predict, arguments, tuple(bound.values()))


def _nodes_by_name(schema: BatchSchema, left_out: Container[str]) -> dict[str, Argument]:
    """Return the nodes that a parameter's name may refer to."""
    nodes = [Argument(schema.keys[path]) for path in schema.owners if path not in left_out and schema.keys[path]]
    entries = {node.keys[0]: Argument(node.keys[:1]) for node in nodes if isinstance(node.keys[0], str)}
    leaves = {str(node.keys[-1]): node for node in reversed(nodes)}
    first = {name: (paths[0], Argument.of_leaf(schema, paths[0])) for name, paths in schema.values.items()}
    modalities = {name: argument for name, (path, argument) in first.items() if argument.is_leaf(schema, path)}
    return leaves | modalities | entries


def _by_order(free: Parameters, schema: BatchSchema, left_out: Container[str], *, at_most: int) -> list[ModelCall]:
    """Match parameters by order with the modalities' leaves, with all leaves, with their nodes, or with containers."""
    required = sum(p.default is p.empty for p in free)
    choices = [_owned(schema), [path for path in schema.paths if path not in left_out]]
    leaves = [[Argument.of_leaf(schema, path) for path in choice] for choice in choices]
    nodes = [[Argument(leaf.keys) for leaf in dict.fromkeys(order)] for order in leaves]
    containers = [[Argument(node.keys[:1]) for node in order] for order in nodes]
    orders = [tuple(order) for order in leaves] + [tuple(dict.fromkeys(order)) for order in nodes + containers]
    fitting = [order for order in orders if max(1, required) <= len(order) <= at_most and _tells_apart(order)]
    return [_positional(order, schema) for order in dict.fromkeys(fitting)]


def _tells_apart(order: Sequence[Argument]) -> bool:
    """Return whether arguments are distinct nodes and parts, and none of them is the whole batch."""
    return len(set(order)) == len(order) and all(argument.keys for argument in order)


def _owned(schema: BatchSchema) -> list[str]:
    """Return the leaves of all modalities in order.

    A tuple or list keeps its own order. A mapping gets the order in which the modalities were declared.
    """
    owned = [path for path in schema.paths if path not in schema.unowned]
    if any(isinstance(key, str) for path in owned for key in schema.keys[path][:1]):
        return [path for declared in schema.values.values() for path in declared]
    return owned


def _positional(order: tuple[Argument, ...], schema: BatchSchema) -> ModelCall:
    description = ", ".join(argument.path for argument in order)
    code = ", ".join(argument.code(schema) for argument in order)

    def predict(module: Any, batch: Any) -> Any:
        return module(*[argument.of(batch) for argument in order])

    return ModelCall(f"forward({description})", predict, code, order, by_order=True)


def _collected(free: Parameters, schema: BatchSchema) -> Iterator[ModelCall]:
    """Yield the calls that pass the modalities' leaves as one list, one tuple, or one dict by modality."""
    if sum(p.default is p.empty for p in free) > 1 or free[0].kind is inspect.Parameter.KEYWORD_ONLY:
        return
    order = tuple(Argument.of_leaf(schema, path) for path in _owned(schema))
    if not _tells_apart(order):
        return
    for brackets, collect in (("[]", list), ("()", tuple)):
        yield _one_argument(brackets, order, schema, collect)
    if all(len(paths) == 1 for paths in schema.values.values()):
        order = tuple(Argument.of_leaf(schema, paths[0]) for paths in schema.values.values())
        yield _one_argument("{}", order, schema, lambda leaves: dict(zip(schema.names, leaves, strict=True)))


def _one_argument(
    brackets: str, order: tuple[Argument, ...], schema: BatchSchema, collect: Callable[[list[Any]], Any]
) -> ModelCall:
    """Return the call that passes leaves in one container."""
    names = [f'"{name}": ' for name in schema.names] if brackets == "{}" else [""] * len(order)
    named = list(zip(names, order, strict=True))
    description = ", ".join(f"{name}{argument.path}" for name, argument in named).join(brackets)
    code = ", ".join(f"{name}{argument.code(schema)}" for name, argument in named).join(brackets)

    def predict(module: Any, batch: Any) -> Any:
        return module(collect([argument.of(batch) for argument in order]))

    return ModelCall(f"forward({description})", predict, code, order, by_order=brackets != "{}")
