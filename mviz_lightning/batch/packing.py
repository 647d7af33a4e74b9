"""Find the leaf that counts the rows of a packed leaf, in one of the common formats."""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
"""Names of leaves with the first row of each example, without the end of the last example."""

LONGEST = re.compile(r"max_?(seq)?_?len", re.IGNORECASE)
"""Names of numbers that are the number of rows of the longest example."""


@dataclass(frozen=True)
class CountFinder:
    """Finds the counters of packed leaves' rows.

    Attributes:
        found: The batch's nodes.
        size: Number of examples in the batch.
        excluded: Paths of leaves that are no counters: the labels, the content of modalities.
    """

    found: Found
    size: int
    excluded: Container[str] = ()
    _known: dict[tuple[int, bool], list[tuple[str, RowCounts]]] = field(default_factory=dict, init=False)

    def of(self, path: str, given: str | None = None) -> list[RowCounts]:
        """Return the counters of a leaf's rows: none, one, or several with the same counts.

        Args:
            path: Path of the packed leaf.
            given: Path of the counter that the user named; None if the user named none.

        Raises:
            ConfigurationError: Two leaves count them differently, or the given one does not count them.
        """
        value = as_tensor(self.found[path][1])
        if not isinstance(value, Tensor) or not value.dim():
            return []
        counted = self._candidates(len(value), path, given)
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
        """Return whether the names of a counter and of a leaf share a word: ``num_patches`` and ``patches``."""
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
                f'differently. Name the right one: Modality("{path}", lengths={next(iter(told.values()))}).'
            )

    def _candidates(self, total: int, path: str, given: str | None = None) -> list[RowCounts]:
        if given is not None:
            return [counts for _, counts in self._count(total, [given], told=True)]
        return [counts for other, counts in self._counted(total) if other != path]

    def _counted(self, total: int, *, nested: bool = True) -> list[tuple[str, RowCounts]]:
        """Return the leaves that count ``total`` rows; cached, because entries of a list often have as many rows."""
        key = (total, nested)
        if key not in self._known:
            usable = [path for path in self._whole if path not in self.excluded]
            self._known[key] = list(self._count(total, usable, nested=nested))
        return self._known[key]

    def _count(
        self, total: int, paths: Sequence[str], *, told: bool = False, nested: bool = True
    ) -> Iterator[tuple[str, RowCounts]]:
        for of_what in (self._counts, self._boundaries, self._numbers, *([self._nested] if nested else [])):
            for path in paths:
                found = of_what(self._whole[path], total, told=told) if path in self._whole else ()
                yield from ((path, counts) for counts in found)

    @cached_property
    def _whole(self) -> dict[str, "_WholeNumbers"]:
        """The leaves of whole numbers by path."""
        arrays = {path: (place, as_tensor(value)) for path, (place, value) in self.found.items() if path}
        return {
            path: _WholeNumbers(path, place.keys, array)
            for path, (place, array) in arrays.items()
            if not place.inner and _are_whole(array)
        }

    def _counts(self, leaf: "_WholeNumbers", total: int, *, told: bool) -> Iterator[RowCounts]:
        if leaf.length == self.size and leaf.total == total:
            yield CountLeaf(leaf.keys)

    def _boundaries(self, leaf: "_WholeNumbers", total: int, *, told: bool) -> Iterator[RowCounts]:
        first, last = leaf.ends or (None, -1)
        if first != 0:
            return
        if leaf.length == self.size + 1 and last == total:
            yield Boundaries(leaf.keys, closed=True)
        elif leaf.length == self.size and (last < total if told else BEGINNINGS.search(leaf.path) and last <= total):
            yield Boundaries(leaf.keys, closed=False)  # if the last boundary is the total, it ends an example

    def _numbers(self, leaf: "_WholeNumbers", total: int, *, told: bool) -> Iterator[RowCounts]:
        first, last = leaf.ends or (-1, -1)
        if leaf.length == total and first >= 0 and last == self.size - 1 and self.size < total:
            yield Numbers(leaf.keys, self._sized())

    def _sized(self) -> tree.Keys | None:
        """Return the keys of a leaf with one entry per example, but not of a tensor in a list (batches may lack it)."""
        for place, value in self.found.values():
            above = self.found[tree.path(place.keys[:-1])][1]
            listed = isinstance(above, list | tuple) and len(above) == self.size
            array = isinstance(as_tensor(value), Tensor) and not place.inner and place.keys
            if array and not listed and example_count(value) == self.size:
                return place.keys
        return None

    def _nested(self, leaf: "_WholeNumbers", total: int, *, told: bool) -> Iterator[RowCounts]:
        """Yield a grid with several rows per example, whose rows are counted by another leaf."""
        if leaf.length != self.size and leaf.total == total:
            own = [counts for path, counts in self._counted(leaf.length, nested=False) if path != leaf.path]
            yield from (CountLeaf(leaf.keys, counts) for counts in own[:1])

    def edges(self, packed: str, counts: RowCounts, total: int, named: Container[str]) -> Iterator[tuple[str, Edges]]:
        """Yield ``(2, E)`` leaves that connect the rows of a packed leaf within each example.

        Args:
            packed: Path of the packed leaf.
            counts: The counter of its rows.
            total: Number of its rows.
            named: Paths of further leaves that the user named. Other leaves count as edges only by their name.
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
        """Yield the numbers with a common name that equal the number of rows of the longest example."""
        for path, (place, value) in self.found.items():
            number = isinstance(value, int) or (isinstance(value, Tensor) and value.numel() == 1)
            if number and not place.inner and LONGEST.search(path) and int(value) == longest:
                yield Longest(place.keys)


@dataclass(frozen=True)
class _WholeNumbers:
    """A leaf of whole numbers, which may count the rows of other leaves; its properties are cached.

    Attributes:
        path: Its path.
        keys: Its keys.
        numbers: ``(K,)`` or ``(K, k)``.
    """

    path: str
    keys: tree.Keys
    numbers: Tensor

    @cached_property
    def length(self) -> int:
        """The length K."""
        return len(self.numbers)

    @cached_property
    def total(self) -> int | None:
        """The sum of the counts, or of the products of a small grid; None if the numbers cannot be counts."""
        small = self.numbers.dim() == 1 or self.numbers.shape[1] <= 4
        counts = small and self.length > 0 and int(self.numbers.min()) >= 0
        return int(products(self.numbers).sum()) if counts else None

    @cached_property
    def ends(self) -> tuple[int, int] | None:
        """The first and the last of ``(K,)`` non-decreasing numbers; None for other numbers."""
        if self.numbers.dim() > 1 or not self.length or bool((self.numbers.long().diff() < 0).any()):
            return None
        return int(self.numbers[0]), int(self.numbers[-1])


def _are_whole(numbers: Any) -> bool:
    whole = isinstance(numbers, Tensor) and 1 <= numbers.dim() <= 2
    return whole and not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype.itemsize < 2)


def _words(path: str) -> set[str]:
    """Return the words of a name, without numbers and without common words of counters."""
    return set(re.findall(r"[a-z]+", path.lower())) - {"num", "n", "of", "lengths", "length", "sizes", "size", "values"}


def _splits(found: Edges, batch: Any, edges: Tensor) -> bool:
    try:
        found.split(batch, edges)
    except ConfigurationError:
        return False
    return True
