"""Queries: the rows on which methods need the model's outputs, and the derivatives that they need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.batch.masking import widen_masks

LARGEST_INTEGER = 2**63 - 1
"""Largest 64-bit integer; row numbers must not exceed it."""

BITS = 31
"""Number of segments whose mask is packed into one integer."""


@dataclass(frozen=True)
class Query:
    """Rows to evaluate: for each modality, the example it is taken from and which of its segments are masked.

    Attributes:
        sources: ``(R, M)`` long: the example of the probe that each modality is taken from.
        masks: Modality -> ``(R, S)`` bool, True where a segment stays. A modality without a mask is not masked. S may
            be smaller than the number of segments of some example; its further segments stay.
        read: ``(R,)`` long: the example whose positions or region each row reads, where outputs have positions; -1
            leaves the choice to the reader. None leaves it everywhere.
    """

    sources: Tensor
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    read: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Tensor | slice) -> "Query":
        """Return the query of the rows at ``index``."""
        read = None if self.read is None else self.read[index]
        return Query(self.sources[index], {name: kept[index] for name, kept in self.masks.items()}, read)

    def doubled(self) -> "Query":
        """Return the query itself; a single row twice: a model that squeezes would lose its batch dimension."""
        return self if len(self) > 1 else self[torch.zeros(2, dtype=torch.long)]

    def equals(self, other: "Query") -> bool:
        """Return whether these are the same rows in the same order."""
        own, others = self.columns, other.columns
        same = len(self) == len(other) and len(own) == len(others) and self.masks.keys() == other.masks.keys()
        return same and all(map(torch.equal, own, others))

    @property
    def columns(self) -> list[Tensor]:
        """Columns of ``(R,)`` integers; two rows that are equal in all columns are the same row."""
        read = [] if self.read is None else [self.read + 1]
        packed = (column for kept in self.masks.values() for column in pack_masks(kept))
        return [*self.sources.unbind(1), *packed, *read]

    @classmethod
    def aligned(cls, examples: Tensor, modalities: int) -> "Query":
        """Return the rows of real examples: all modalities from the same example.

        Args:
            examples: ``(R,)`` indices of examples.
            modalities: Number of modalities, M.
        """
        return cls(examples.unsqueeze(1).expand(-1, modalities))


@dataclass(frozen=True)
class Derivative:
    """The derivative of one output of every row with respect to each entry of one modality.

    The derivative is multiplied by (entry - masked entry). With one step it is taken at the entry (gradient x input);
    with more it is averaged over points on the straight line from the masked entry to the entry (integrated gradients,
    Sundararajan et al. 2017). Tokens are derived at their embeddings, and the embedding's dimensions are summed.

    With ``against`` it is a second derivative with respect to two scales: one of a segment of ``modality``, one of a
    segment of ``against``. Scale 0 is the masked segment, scale 1 the segment itself; the derivative is taken at 1.

    Attributes:
        rows: R rows. Masks of the derived modalities are not used.
        outputs: ``(R,)`` long: the output of each row that is derived.
        modality: Name of the modality.
        steps: Number of points on the line; for a second derivative, the cost of each row, as a number of plain rows.
        against: Name of the other modality; empty for a first derivative.
    """

    rows: Query
    outputs: Tensor
    modality: str
    steps: int = 1
    against: str = ""


def join(queries: Sequence[Query]) -> tuple[Query, list[Tensor]]:
    """Join queries and drop repeated rows.

    A row in which all segments stay is the same row as one without a mask.

    Args:
        queries: At least one query; all have the same modalities.

    Returns:
        The distinct rows, and for each query ``(R,)``: the distinct row that is equal to each of its rows.
    """
    everything = _stack_queries(queries)
    rows = row_numbers(everything.columns)
    distinct, response = torch.unique(rows, return_inverse=True)
    first = torch.full((len(distinct),), len(rows)).scatter_reduce(0, response, torch.arange(len(rows)), "amin")
    # In the order of their first occurrence, so that rows of one group or of one example stay together.
    order = first.argsort()
    response = order.argsort()[response]
    return everything[first[order]], list(torch.split(response, [len(query) for query in queries]))


def row_numbers(columns: Sequence[Tensor]) -> Tensor:
    """Return ``(R,)`` numbers; two rows have the same number if they are equal in all columns.

    Sorting numbers is faster than sorting rows.

    Args:
        columns: At least one column of ``(R,)`` integers, 0 or larger.
    """
    key, *rest = columns
    for column in rest:
        span = int(column.max()) + 1 if len(column) else 1
        if len(key) and int(key.max()) >= LARGEST_INTEGER // span:
            key = torch.unique(key, return_inverse=True)[1]
        key = key * span + column
    return key


def pack_masks(masks: Tensor) -> list[Tensor]:
    """Return ``(R, S)`` masks as columns of integers, :data:`BITS` segments in each."""
    powers = 2 ** torch.arange(min(BITS, masks.shape[1]))
    return [(some.long() * powers[: some.shape[1]]).sum(1) for some in torch.split(masks, BITS, 1)]


def _stack_queries(queries: Sequence[Query]) -> Query:
    names = dict.fromkeys(name for query in queries for name in query.masks)
    masks = {name: _stack_masks([query.masks.get(name, _unmasked(query)) for query in queries]) for name in names}
    return Query(torch.cat([query.sources for query in queries]), masks, _stack_read(queries))


def _stack_read(queries: Sequence[Query]) -> Tensor | None:
    if all(query.read is None for query in queries):
        return None
    return torch.cat([_unread(query) if query.read is None else query.read for query in queries])


def _unread(query: Query) -> Tensor:
    return torch.full((len(query),), -1)


def _stack_masks(masks: Sequence[Tensor]) -> Tensor:
    """Stack masks; a mask with fewer segments is widened with segments that stay."""
    most = max(kept.shape[1] for kept in masks)
    return torch.cat([widen_masks(kept, most) for kept in masks])


def _unmasked(query: Query) -> Tensor:
    return torch.ones(len(query), 0, dtype=torch.bool)
