"""Find what counts the rows of packed leaves: a batch tells it in one of a few usual ways."""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.counts import Boundaries, CountLeaf, Edges, Longest, Numbers, RowCounts, products
from mviz_lightning.batch.outline import Found
from mviz_lightning.batch.rows import describe_leaf, example_count
from mviz_lightning.errors import ConfigurationError

EDGES = re.compile(r"edge", re.IGNORECASE)
"""Names of leaves with the numbers of two rows in each column."""

BEGINNINGS = re.compile(r"offset|ptr|start", re.IGNORECASE)
"""Names of leaves that tell where each example begins, but not where the last one ends."""

LONGEST = re.compile(r"max_?(seq)?_?len", re.IGNORECASE)
"""Names of numbers that are those of the longest example."""


@dataclass(frozen=True)
class CountFinder:
    """Finds what counts the rows of packed leaves.

    Attributes:
        found: The batch's nodes.
        size: Number of examples in the batch.
        excluded: Paths of leaves that count nothing: the labels, the content of modalities.
    """

    found: Found
    size: int
    excluded: Container[str] = ()

    def of(self, path: str, given: str | None = None) -> list[RowCounts]:
        """Return what counts the rows of a leaf: nothing, or one leaf or several that tell the same.

        Args:
            path: Path of the packed leaf.
            given: Path of the leaf that the user says counts them; None without one.

        Raises:
            ConfigurationError: Two leaves count them differently, or the given one does not count them.
        """
        value = as_tensor(self.found[path][1])
        if not isinstance(value, Tensor) or not value.dim():
            return []
        counted = list(self._candidates(len(value), path, given))
        if given is not None and not counted:
            raise ConfigurationError(
                f"Modality({path!r}, lengths={given!r}): {given!r} {describe_leaf(self.found[given][1])} does not "
                f"count the {len(value)} rows of {path!r} for {self.size} examples. Give a leaf of counts (B,), a grid "
                "whose products are counts, cu_seqlens (B + 1,), offsets (B,), or the example of each row (L,)."
            )
        own = [counts for counts in counted if self._is_akin(path, counts)] or counted
        self._require_one(path, len(value), own)
        return own

    def _is_akin(self, path: str, counts: RowCounts) -> bool:
        """Tell whether the name of what counts has a word of a leaf's name: ``num_patches`` and ``patches``."""
        return any(
            theirs.startswith(own) or theirs.endswith(own)
            for own in _words(path)
            for theirs in _words(counts.said.strip("'"))
        )

    def _require_one(self, path: str, total: int, counted: Sequence[RowCounts]) -> None:
        batch = self.found[""][1]
        told = {tuple(counts.lengths(batch, total)): counts.said for counts in counted}
        if len(told) > 1:
            raise ConfigurationError(
                f"{path!r} has {total} rows for {self.size} examples, and {' and '.join(told.values())} count them "
                f'differently. Name the one that does: Modality("{path}", lengths={next(iter(told.values()))}).'
            )

    def _candidates(self, total: int, path: str, given: str | None = None) -> Iterator[RowCounts]:
        for of_what in (self._counts, self._boundaries, self._numbers, self._nested):
            for other, (place, value) in self.found.items():
                usable = other not in (path, "") and not place.inner and other not in self.excluded
                numbers = as_tensor(value)
                if (other == given if given is not None else usable) and _are_whole(numbers):
                    yield from of_what(other, place.keys, numbers, total, told=given is not None)

    def _counts(self, path: str, keys: tree.Keys, numbers: Tensor, total: int, *, told: bool) -> Iterator[RowCounts]:
        if len(numbers) == self.size and _adds_up(numbers, total):
            yield CountLeaf(keys)

    def _boundaries(
        self, path: str, keys: tree.Keys, numbers: Tensor, total: int, *, told: bool
    ) -> Iterator[RowCounts]:
        if numbers.dim() > 1 or not len(numbers) or int(numbers[0]) != 0 or bool((numbers.long().diff() < 0).any()):
            return
        last = int(numbers[-1])
        if len(numbers) == self.size + 1 and last == total:
            yield Boundaries(keys, closed=True)
        elif len(numbers) == self.size and (last < total if told else BEGINNINGS.search(path) and last <= total):
            yield Boundaries(keys, closed=False)  # where the last boundary is the total, it is the end of an example

    def _numbers(self, path: str, keys: tree.Keys, numbers: Tensor, total: int, *, told: bool) -> Iterator[RowCounts]:
        if numbers.dim() > 1 or len(numbers) != total or bool((numbers.long().diff() < 0).any()):
            return
        if total and int(numbers[0]) >= 0 and int(numbers[-1]) == self.size - 1 and self.size < total:
            yield Numbers(keys, self._sized())

    def _sized(self) -> tree.Keys | None:
        """Return the keys of a leaf with one entry per example."""
        for place, value in self.found.values():
            array = isinstance(as_tensor(value), Tensor) and not place.inner and place.keys
            if array and example_count(value) == self.size:
                return place.keys
        return None

    def _nested(self, path: str, keys: tree.Keys, numbers: Tensor, total: int, *, told: bool) -> Iterator[RowCounts]:
        """Yield a grid with several rows for each example, whose own rows another leaf counts."""
        if len(numbers) != self.size and _adds_up(numbers, total):
            own = next(self._candidates(len(numbers), path), None)
            if own is not None:
                yield CountLeaf(keys, own)

    def edges(self, packed: str, counts: RowCounts, total: int, named: Container[str]) -> Iterator[tuple[str, Edges]]:
        """Yield ``(2, E)`` leaves that connect the rows of a packed leaf within each example.

        Args:
            packed: Path of the packed leaf.
            counts: What counts its rows.
            total: Number of its rows.
            named: Paths of the leaves that the user named beside it. Others are edges only by their name.
        """
        batch = self.found[""][1]
        for path, (place, value) in self.found.items():
            edges = as_tensor(value)
            if place.inner or not _are_whole(edges) or edges.dim() != 2 or len(edges) != 2 or path in self.excluded:
                continue
            inside = edges.numel() and int(edges.min()) >= 0 and int(edges.max()) < total
            found = Edges(place.keys, counts, self.found[packed][0].keys)
            meant = EDGES.search(path) or (path in named and self.size != len(edges))
            if meant and inside and _splits(found, batch, edges):
                yield path, found

    def longest(self, longest: int) -> Iterator[Longest]:
        """Yield the numbers that tell how many rows the longest example has, under a usual name."""
        for path, (place, value) in self.found.items():
            number = isinstance(value, int) or (isinstance(value, Tensor) and value.numel() == 1)
            if number and not place.inner and LONGEST.search(path) and int(value) == longest:
                yield Longest(place.keys)


def _are_whole(numbers: Any) -> bool:
    whole = isinstance(numbers, Tensor) and 1 <= numbers.dim() <= 2
    return whole and not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype.itemsize < 2)


def _words(path: str) -> set[str]:
    """Return the words of a name, without numbers and without those that every counter has."""
    return set(re.findall(r"[a-z]+", path.lower())) - {"num", "n", "of", "lengths", "length", "sizes", "size", "values"}


def _adds_up(numbers: Tensor, total: int) -> bool:
    """Tell whether counts, or the products of a small grid, add up to a number of rows."""
    small = numbers.dim() == 1 or numbers.shape[1] <= 4
    return small and len(numbers) > 0 and int(numbers.min()) >= 0 and int(products(numbers).sum()) == total


def _splits(found: Edges, batch: Any, edges: Tensor) -> bool:
    try:
        found.split(batch, edges)
    except ConfigurationError:
        return False
    return True
