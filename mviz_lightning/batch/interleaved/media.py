"""Leaves with one entry per item of a modality, or per patch of its items."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_before, as_tensor
from mviz_lightning.batch.counts import CountLeaf, RowCounts
from mviz_lightning.batch.holdings import Lengths, padded_to
from mviz_lightning.batch.interleaved.dealing import DealtItems


@dataclass(frozen=True)
class MediaItems:
    """A node with the items of all rows one after another.

    Attributes:
        items: Determines how many items each row has.
        patches: Keys of the grid whose products are each item's number of patches; None if entries are items.
        exemplar: A node of the same type; it may be empty.
    """

    items: DealtItems
    patches: tree.Keys | None
    exemplar: Any
    padded = False

    @property
    def counts(self) -> RowCounts:
        """The source of the number of entries of each row."""
        return self.items if self.patches is None else CountLeaf(self.patches, self.items)

    def told(self, tell: Callable[[DealtItems], DealtItems]) -> "MediaItems":
        """Return a copy with updated items."""
        return replace(self, items=tell(self.items))

    def read(self, batch: Any, node: Any) -> Any:
        """Return the entries of each row; a row without placeholders has none."""
        entries = as_tensor(node)
        parts = torch.split(entries, self.counts.lengths(batch, len(entries)))
        return [part if has else part[:0] for part, has in zip(parts, self.items.having(batch), strict=True)]

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the entries of all rows one after another; missing tiles are 0."""
        return as_before(torch.cat(_of_one_extent(list(rows))), self.exemplar)


def _of_one_extent(rows: Sequence[Tensor]) -> list[Tensor]:
    extent = torch.tensor([tuple(row.shape[1:]) for row in rows], dtype=torch.long).amax(0).tolist()
    return [padded_to(row, [len(row), *extent]) for row in rows]
