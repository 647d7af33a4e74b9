"""Batches in which examples have leaves of other examples, and a test whether outputs change with them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.batch.schema import BatchSchema


def with_swapped(schema: BatchSchema, batch: Any, paths: Iterable[str]) -> Any:
    """Return a batch in which every example has some leaves of the example before it.

    Args:
        schema: Where the leaves are in the batch.
        batch: A few examples. Its containers are copied: a model may take entries out of them.
        paths: Paths of the leaves that are swapped; none for the batch as it is.
    """
    leaves = schema.leaves(batch)
    rolled = torch.arange(schema.size(leaves)).roll(1)
    swapped = {path: take_examples(leaves[path], rolled) for path in paths}
    return schema.with_leaves(tree.copied(batch), leaves | swapped)


def changed(left: Any, right: Any, keys: tree.Keys) -> bool:
    """Return whether the tensor at some keys of two outputs differs in any bit."""
    return differ(tree.get(left, keys), tree.get(right, keys))


def differ(left: Tensor, right: Tensor) -> bool:
    """Return whether two tensors differ in any bit; NaN equals NaN."""
    return left.shape != right.shape or not bool(((left == right) | (left.isnan() & right.isnan())).all())
