"""A language model with the arguments of the user's own step: computed again from each batch, or in a replay."""

import copy
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from mviz_lightning.batch import BatchSchema, tree
from mviz_lightning.engine.dependency_tags import Tags, union
from mviz_lightning.engine.language_model import GivenArguments, LanguageModel
from mviz_lightning.engine.muted_step import StopStep, call_step, muted
from mviz_lightning.observation.provenance import Call, Leaf, Node, nodes_in
from mviz_lightning.observation.recipe import RecipeWriter, numbers_of
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.ways import StepFunction, name_of_step

LABELS = "labels"
"""Argument from which a language model computes a loss."""


def takes_text_and_items(call: Call, record: StepRecord) -> bool:
    """Return whether a call gets one id for each token, and the values of all items.

    Args:
        call: The call of a module.
        record: What the step showed.
    """
    found, given = record.schema.interleaving, _named_in(call)
    if found is None or given is None:
        return False
    ids = record.tags_of([found.ids])
    wanted = [record.tags_of(paths[:1]) for paths in found.media.values()]
    texts = [one for one in given.values() if isinstance(one, Node) and one.tags & ids and len(one.shape) == 2]
    return bool(texts) and all(any(_tags(one) & tags for one in given.values()) for tags in wanted)


def observed_language(call: Call, record: StepRecord, module: nn.Module) -> LanguageModel | None:
    """Return a language model whose arguments are computed from each batch as in the step; None where this fails.

    Args:
        call: The call of the language model.
        record: What the step showed.
        module: The user's model.
    """
    schema, given = record.schema, _named_in(call)
    interleaving = schema.interleaving
    if interleaving is None or given is None:
        return None
    labels = record.tags_of([] if interleaving.labels is None else [interleaving.labels])
    given = {name: one for name, one in given.items() if name != LABELS and not _tags(one) & labels}
    paths = {keys: path for path, keys in schema.keys.items()}
    leaves = {name: paths[one.keys] for name, one in given.items() if isinstance(one, Leaf) and one.keys in paths}
    others = {name: one for name, one in given.items() if name not in leaves}
    size = partial(_rows_in, schema.keys[interleaving.ids])
    made = RecipeWriter(record, numbers_of(module)).arguments(others, call.after, size)
    if made is None:
        return None
    by_token = record.tags_of(interleaving.tokenwise)
    retold = any(_tags(one) & by_token for one in others.values())
    shown = [name for name, one in others.items() if _tags(one)]
    arguments = GivenArguments(leaves, shown, "your step", partial(made, module), retold=retold)
    return LanguageModel(call.module, schema, interleaving, arguments)


def replayed_language(call: Call, record: StepRecord, module: nn.Module, step: StepFunction) -> LanguageModel | None:
    """Return a language model whose arguments a replay of the step makes; None where they have no names.

    Args:
        call: The call of the language model.
        record: What the step showed.
        module: The user's model.
        step: The step.
    """
    interleaving, given = record.schema.interleaving, _named_in(call)
    if interleaving is None or given is None or call.name is None:
        return None
    replay = ArgumentReplay(module, step, record.schema, call.name, call.ordinal)
    shown = [name for name, one in given.items() if _tags(one) and name != LABELS]
    source = f"a replay of {name_of_step(step)} without logging"
    arguments = GivenArguments({}, shown, source, replay, retold=True)
    return LanguageModel(call.module, record.schema, interleaving, arguments)


@dataclass(frozen=True)
class ArgumentReplay:
    """Replays the step, muted, up to the call of a module.

    Attributes:
        module: The user's model.
        step: The step.
        schema: Where the leaves are in a batch.
        watched: Name of the module that is called.
        ordinal: Number of its calls in the step before this one.
    """

    module: nn.Module
    step: StepFunction
    schema: BatchSchema
    watched: str
    ordinal: int

    def __call__(self, batch: Any) -> Mapping[str, Any]:
        """Return the arguments of the call by name, without labels.

        Raises:
            RuntimeError: The step ended without the call.
        """
        child, calls, found = self.module.get_submodule(self.watched), itertools.count(), dict[str, Any]()

        def note(called: nn.Module, args: Any, kwargs: Any) -> None:
            if next(calls) == self.ordinal:
                found.update(_named(called, args, kwargs) or {})
                raise StopStep

        # A hook would make a compiled module compile again.
        with torch.compiler.set_stance("force_eager"), muted(self.module, seed=None):
            handle = child.register_forward_pre_hook(note, with_kwargs=True)
            try:
                call_step(self.module, self.step, copy.copy(batch))  # the step may take leaves out of the batch
            finally:
                handle.remove()
        if not found:
            raise RuntimeError(f"{name_of_step(self.step)} ended without a call of {self.watched}")
        labels = self._labels(batch)
        return {name: value for name, value in found.items() if name != LABELS and value is not labels}

    def _labels(self, batch: Any) -> Any:
        path = None if self.schema.interleaving is None else self.schema.interleaving.labels
        return None if path is None else tree.get(batch, self.schema.keys[path])


def _rows_in(ids: tree.Keys, batch: Any) -> int:
    return len(tree.get(batch, ids))


def _named_in(call: Call) -> dict[str, Any] | None:
    return _named(call.module, *call.arguments)


def _named(module: nn.Module, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return arguments of a module by name; None where not all of them have names."""
    signature = inspect.signature(module.forward)
    try:
        found = signature.bind(*positional, **named).arguments
    except TypeError:
        return None
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    if any(kinds[name] is inspect.Parameter.VAR_POSITIONAL for name in found):
        return None
    return dict(_unfolded(found, kinds))


def _unfolded(found: Mapping[str, Any], kinds: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        yield from value.items() if kinds[name] is inspect.Parameter.VAR_KEYWORD else [(name, value)]


def _tags(given: Any) -> Tags:
    return union(node.tags for node in nodes_in(given))
