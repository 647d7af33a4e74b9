"""Cut a query into runs of rows with few distinct inputs, so that the recorded encodings fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query, pack_masks, row_numbers

WORTHWHILE = 2
"""Smallest number of rows per distinct input for which encodings are reused; below, recording would not pay."""


@dataclass(frozen=True)
class RowRun:
    """Consecutive rows of a query with few distinct inputs. An input is one modality's example together with its mask.

    Attributes:
        rows: The rows' slice of the query.
        distinct: Rows that together hold every distinct input: row k holds the k-th distinct input of each modality.
        index: ``(R, M)``: for each row and modality, the row of ``distinct`` that holds its input.
    """

    rows: slice
    distinct: Query
    index: Tensor

    @property
    def worthwhile(self) -> bool:
        """Whether encoding the distinct inputs once is cheaper than evaluating all rows plainly."""
        return len(self.index) >= WORTHWHILE * len(self.distinct)

    def pairs_of(self, grid: Tensor) -> Tensor:
        """Return the ``(R, 1)`` scores of the rows in the ``(D, D)`` scores of all pairs of distinct inputs."""
        index = self.index.to(grid.device)
        return grid[index[:, 0], index[:, 1]].unsqueeze(1).detach()


def row_runs(query: Query, names: list[str], limit: int) -> Iterator[RowRun]:
    """Cut a query into runs of rows in which no modality has more than ``limit`` distinct inputs.

    The recorded outputs of a run thus take no more memory than one chunk of rows.

    Args:
        query: The rows.
        names: Names of the modalities, in the order of the query's columns.
        limit: Largest number of distinct inputs of a modality in a run.
    """
    inputs = input_numbers(query, names)
    before = torch.stack([_previous_row(column) for column in inputs.T])
    start = 0
    while start < len(query):
        # Within a run, an input is new if its previous row lies before the run.
        distinct = (before[:, start:] < start).cumsum(1).amax(0)
        stop = start + int(torch.searchsorted(distinct, limit, right=True))
        yield _run(query, names, inputs, start, stop)
        start = stop


def _previous_row(column: Tensor) -> Tensor:
    """Return ``(R,)``: for each row, the last row before it with the same input; -1 if there is none."""
    order = column.argsort(stable=True)
    same = column[order[1:]] == column[order[:-1]]
    found = torch.full_like(column, -1)
    found[order[1:]] = torch.where(same, order[:-1], -1)
    return found


def input_numbers(query: Query, names: list[str]) -> Tensor:
    """Return ``(R, M)`` numbers; two rows have the same number if the modality's example and mask are the same."""
    masks = {name: pack_masks(kept) for name, kept in query.masks.items()}
    columns = [row_numbers([query.sources[:, m], *masks.get(name, [])]) for m, name in enumerate(names)]
    return torch.stack(columns, 1)


def _run(query: Query, names: list[str], inputs: Tensor, start: int, stop: int) -> RowRun:
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
    return RowRun(rows, Query(sources, masks), torch.stack(index, 1))
