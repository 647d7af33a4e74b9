"""Check that splitting and rebuilding a batch gives the same batch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.errors import NotMeasurableError

if TYPE_CHECKING:
    from mviz_lightning.batch.schema import BatchSchema


def require_same(schema: "BatchSchema", batch: Any) -> None:
    """Check that splitting and rebuilding gives the same rows, for the rows of a batch that have all items.

    Args:
        schema: The schema learned from the batch.
        batch: The user's own batch.

    Raises:
        NotMeasurableError: A leaf differs.
    """
    found = schema.leaves(batch)
    tokenwise = () if schema.interleaving is None else schema.interleaving.tokenwise
    owned = {path: leaf for path, leaf in found.items() if path in tokenwise or path not in schema.unowned}
    rows = complete_rows(schema, owned)
    if not len(rows):
        return
    again = schema.leaves(schema.build({path: take_examples(leaf, rows) for path, leaf in found.items()}))
    for path, leaf in owned.items():
        before, after = take_examples(leaf, rows), again[path]
        if not all(map(_same, before, after)):
            raise NotMeasurableError(
                f"{path!r} is not the same once a batch is taken apart and put together again, so its texts cannot be "
                "recombined. Leave it out of the batch, or name it in the modality it belongs to."
            )


def complete_rows(schema: "BatchSchema", leaves: Mapping[str, Any]) -> Tensor:
    """Return ``(K,)`` long: the rows that have items of all modalities with placeholders."""
    media = [] if schema.interleaving is None else [paths[0] for paths in schema.interleaving.media.values()]
    has = [[entry is not None and len(entry) > 0 for entry in leaves[path]] for path in media]
    return torch.tensor(has, dtype=torch.bool).all(0).nonzero()[:, 0]


def _same(before: Any, after: Any) -> bool:
    left, right = as_tensor(before), as_tensor(after)
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return left == right or tree.children(left) != []
    return left.shape == right.shape and torch.equal(left.cpu(), right.cpu())
