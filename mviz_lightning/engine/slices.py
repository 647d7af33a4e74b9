"""Cut a query into runs of rows with few distinct inputs, so that what is recorded of them fits into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query, numbered, packed

WORTHWHILE = 2
"""Rows for each distinct input from which on reuse saves more than it costs."""


@dataclass(frozen=True)
class Slice:
    """Neighbouring rows of a query with few distinct inputs.

    Attributes:
        rows: Of the query.
        distinct: Rows that hold every distinct input of every modality, at the same place in its order.
        index: ``(R, M)`` place of each row's inputs in that order.
    """

    rows: slice
    distinct: Query
    index: Tensor

    @property
    def worthwhile(self) -> bool:
        """Whether its distinct inputs are encoded once rather than its rows evaluated as they are."""
        return len(self.index) >= WORTHWHILE * len(self.distinct)


def slices(query: Query, names: list[str], limit: int) -> Iterator[Slice]:
    """Cut a query into runs of rows in which no modality has more than ``limit`` distinct inputs.

    So the memory for recorded outputs is that of one chunk of rows, however many rows are asked for.
    """
    inputs = _inputs(query, names)
    before = torch.stack([_before(column) for column in inputs.T])
    start = 0
    while start < len(query):
        # Within a run an input is new where it did not stand in the run before.
        distinct = (before[:, start:] < start).cumsum(1).amax(0)
        stop = start + int(torch.searchsorted(distinct, limit, right=True))
        yield _cut(query, names, inputs, start, stop)
        start = stop


def _before(column: Tensor) -> Tensor:
    """Return ``(R,)`` the row before each at which the same input stands; -1 where there is none."""
    order = column.argsort(stable=True)
    same = column[order[1:]] == column[order[:-1]]
    found = torch.full_like(column, -1)
    found[order[1:]] = torch.where(same, order[:-1], -1)
    return found


def _inputs(query: Query, names: list[str]) -> Tensor:
    """Return ``(R, M)`` numbers, equal where a modality's example and mask are."""
    masks = {name: packed(kept) for name, kept in query.masks.items()}
    columns = [numbered([query.sources[:, m], *masks.get(name, [])]) for m, name in enumerate(names)]
    return torch.stack(columns, 1)


def _cut(query: Query, names: list[str], inputs: Tensor, start: int, stop: int) -> Slice:
    rows, part = slice(start, stop), query[start:stop]
    index, firsts = [], []
    for column in inputs[rows].T:
        distinct, inverse = torch.unique(column, return_inverse=True)
        first = torch.full((len(distinct),), len(column)).scatter_reduce(0, inverse, torch.arange(len(column)), "amin")
        index.append(inverse)
        firsts.append(first)
    most = max(len(first) for first in firsts)
    places = [first[torch.arange(most) % len(first)] for first in firsts]
    sources = torch.stack([part.sources[place, m] for m, place in enumerate(places)], 1)
    masks = {name: kept[places[names.index(name)]] for name, kept in part.masks.items()}
    return Slice(rows, Query(sources, masks), torch.stack(index, 1))
