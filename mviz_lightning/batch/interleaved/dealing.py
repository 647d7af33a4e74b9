"""Assign the items of a batch, which are concatenated, to its rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from typing import Any, TypeAlias

import torch

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.counts import products
from mviz_lightning.batch.interleaved.blocks import BlockFinder
from mviz_lightning.batch.interleaved.tokenwise import OwnTokens
from mviz_lightning.errors import NotMeasurableError

ItemKey: TypeAlias = tuple[int, ...]
"""Determines the number of placeholders of an item: its sizes, or the shape of all items."""

ItemTokens: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[int] | None]
"""(modality, leaves of its items by path) -> number of placeholders of each item; None if the model has no rule."""


@dataclass(frozen=True)
class DealtItems:
    """Determines how many items belong to each row.

    The first rule that fits the numbers is used: each row with placeholders has one item; each row has one entry of the
    leaf; each block is one item; items with known numbers of placeholders fill the rows exactly.

    Attributes:
        modality: Name of the modality.
        own: The tokens of a row that are not padding.
        finder: Finds the blocks.
        values: Keys of the items.
        sizes: Keys of the leaves with the sizes of each item, ``(n, k)`` whole numbers.
        grid: Keys of the leaf whose products are numbers of patches; None if items are not cut into patches.
        known: Key of an item -> its number of placeholders, for items whose number the model gave.
    """

    modality: str
    own: OwnTokens
    finder: BlockFinder
    values: tree.Keys
    sizes: tuple[tree.Keys, ...] = ()
    grid: tree.Keys | None = None
    known: Mapping[ItemKey, int] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The source of the counts, in words."""
        return f"{self.modality}'s placeholders in {tree.path(self.own.ids)!r}"

    def having(self, batch: Any) -> list[bool]:
        """Return which rows have placeholders."""
        return [count > 0 for count in self._counts(batch)]

    def lengths(self, batch: Any, total: int) -> list[int]:
        """Return the number of items of each row.

        Raises:
            NotMeasurableError: No rule fits.
        """
        found = self._certain(batch, total) or self._filled(batch, total)
        if found is None:
            counts = self._counts(batch)
            raise NotMeasurableError(
                f"{tree.path(self.values)!r}: {total} items do not fit the {sum(counts)} placeholders of "
                f"{self.modality} in {tree.path(self.own.ids)!r}, which are {counts} by row. If placeholders were "
                "truncated, give tokenizer(..., truncation=False)."
            )
        return found

    def has_parts(self, batch: Any) -> bool:
        """Return whether a text has more blocks than items; blocks are then parts (tiles) of an item."""
        total = len(tree.get(batch, self.grid or self.values))
        return any(b > i for b, i in zip(self._blocks(batch), self.lengths(batch, total), strict=True))

    def is_certain(self, batch: Any) -> bool:
        """Return whether items can be assigned without asking the model for each item's number of placeholders."""
        total = len(tree.get(batch, self.grid or self.values))
        return self._certain(batch, total) is not None or all(key in self.known for key in self._keys(batch))

    def _certain(self, batch: Any, total: int) -> list[int] | None:
        """Return the number of items of each row if the batch leaves no choice, otherwise None."""
        having = self.having(batch)
        if total == sum(having):
            return [int(has) for has in having]
        if total == len(having) and self._are_rows(batch, having):
            return [1] * total
        blocks = self._blocks(batch)
        if total == sum(blocks):
            return blocks
        return None if self.grid is None else _fill(self._counts(batch), self._by_grid(batch))

    def _filled(self, batch: Any, total: int) -> list[int] | None:
        """Return, for each row, how many items fill its placeholders exactly, with known or equal lengths."""
        counts, keys = self._counts(batch), self._keys(batch)
        if self.known and all(key in self.known for key in keys):
            return _fill(counts, [self.known[key] for key in keys])
        return _fill(counts, [sum(counts) // total] * total) if total else None

    def _are_rows(self, batch: Any, having: list[bool]) -> bool:
        """Return whether a leaf has one entry per row, and only zeros for rows without placeholders."""
        values = as_tensor(tree.get(batch, self.values))
        return len(values) == len(having) and not bool(values[~torch.tensor(having)].any())

    def _by_grid(self, batch: Any) -> list[int]:
        patches = products(as_tensor(tree.get(batch, self.grid or ())))
        merged = int(patches.sum()) / max(1, sum(self._counts(batch)))
        return [round(int(count) / merged) for count in patches] if merged else []

    def _blocks(self, batch: Any) -> list[int]:
        """Return the number of blocks of each row."""
        found = (self.finder.blocks(ids) for ids in self.own.texts(batch))
        return [sum(block.modality == self.modality for block in blocks) for blocks in found]

    def _counts(self, batch: Any) -> list[int]:
        """Return the number of placeholders of each row."""
        return [self.finder.placeholders_in(ids, self.modality) for ids in self.own.texts(batch)]

    def _keys(self, batch: Any) -> list[ItemKey]:
        """Return the key that determines each item's number of placeholders."""
        if not self.sizes:
            values = as_tensor(tree.get(batch, self.values))
            return [tuple(values.shape[1:])] * len(values)
        found = [as_tensor(tree.get(batch, keys)).detach().cpu().long() for keys in self.sizes]
        return [tuple(row) for row in torch.cat([one.flatten(1) for one in found], 1).tolist()]

    def told(self, batch: Any, counts: Sequence[int]) -> "DealtItems":
        """Return a copy with the number of placeholders of each item of a batch, if its sizes determine the number."""
        keys = self._keys(batch)
        if len(counts) != len(keys):
            return self
        found = {**self.known, **dict(zip(keys, counts, strict=True))}
        decided = all(found[key] == count for key, count in zip(keys, counts, strict=True))
        return replace(self, known=found) if decided else self


def _fill(rows: Sequence[int], items: Sequence[int]) -> list[int] | None:
    """Return how many items fill each row exactly; None if they do not fit.

    Args:
        rows: Number of placeholders of each row.
        items: Number of placeholders of each item, in the order of the rows.
    """
    ends = torch.tensor([0, *items]).cumsum(0).tolist()
    place = {end: number for number, end in reversed(list(enumerate(ends)))}
    wanted = reduce(lambda found, count: [*found, found[-1] + count], rows, [0])
    if ends[-1] != wanted[-1] or any(end not in place for end in wanted):
        return None
    return [place[stop] - place[start] for start, stop in pairwise(wanted)]
