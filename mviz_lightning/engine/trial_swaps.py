"""What the outputs of one call change with: found by giving examples the leaves of other examples."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import tree
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.isolation import random_states
from mviz_lightning.engine.model_call import ModelCall


def outputs_with_swapped(
    call: ModelCall, module: nn.Module, schema: BatchSchema, batch: Any, paths: Iterable[str]
) -> Any:
    """Return what the model returns if every example has some leaves of the example before it.

    Args:
        call: The call of the model.
        module: The model.
        schema: Where the leaves are in the batch.
        batch: A few examples.
        paths: Paths of the leaves that are swapped; none for the outputs of the batch as it is.
    """
    rolled = torch.arange(schema.size(schema.leaves(batch))).roll(1)
    leaves = {schema.keys[path]: take_examples(tree.get(batch, schema.keys[path]), rolled) for path in paths}
    with random_states(), torch.no_grad():  # what a forward draws is the same in all calls
        return call.predict(module, tree.replace(batch, leaves))


def changed(left: Any, right: Any, keys: tree.Keys) -> bool:
    """Tell whether the tensor at some keys of two outputs differs in any bit."""
    return differ(tree.get(left, keys), tree.get(right, keys))


def differ(left: Tensor, right: Tensor) -> bool:
    """Tell whether two tensors differ in any bit; NaN equals NaN."""
    return left.shape != right.shape or not bool(((left == right) | (left.isnan() & right.isnan())).all())
