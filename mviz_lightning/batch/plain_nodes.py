"""How nodes that are not packed store their examples."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from mviz_lightning.batch import registry, tree
from mviz_lightning.batch.arrays import empty_like
from mviz_lightning.batch.holdings import (
    Holding,
    Listed,
    Nested,
    PackedSequences,
    Stacked,
    WholeExamples,
    as_tensors,
    present,
)
from mviz_lightning.batch.node_reader import entry_of
from mviz_lightning.batch.outline import Outline


def holding_of(node: Any, outline: Outline) -> Holding:
    """Return how a node that is not packed stores its examples."""
    examples = outline.examples(node)
    if examples is not None:
        return WholeExamples(*_split_and_join(node, examples))
    if isinstance(node, list | tuple) and as_tensors(present(node)) is not None:
        return Listed(type(node), empty_like(present(node)[0]))
    if isinstance(node, PackedSequence):
        return PackedSequences()
    if isinstance(node, Tensor) and node.is_nested:
        return Nested(node.layout)
    return Stacked(empty_like(node))


def _split_and_join(node: Any, examples: Sequence[Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    registered = registry.examples_of(node)
    if registered is None:
        return list, type(node)
    return registered.split, partial(registered.join, registered.join(node, examples[:1]))


def emptied(examples: Sequence[Any], inner: Collection[tree.Keys]) -> Any:
    """Return a copy of the first example that has values at all given keys, with empty values at these keys."""
    whole = (one for one in examples if all(entry_of(one, keys) is not None for keys in inner))
    example = next(whole, examples[0])
    return tree.shell(tree.copied(example), {keys: empty_like(tree.get(example, keys)) for keys in inner})
