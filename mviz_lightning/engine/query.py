"""The one question that all methods ask: the model's outputs on rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.batch.masking import widened

LARGEST = 2**63 - 1
BITS = 31
"""Units of a mask that are packed into one number."""


@dataclass(frozen=True)
class Query:
    """Rows to evaluate; a row names for each modality the example it is taken from and which of its units stay.

    Attributes:
        sources: ``(R, M)`` long: the probe's example that each modality is taken from.
        masks: Modality -> ``(R, U)`` bool, True where a unit stays; a modality that is not named is never masked. U may
            be that of the examples asked for, which may have fewer units than others.
    """

    sources: Tensor
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Tensor | slice) -> "Query":
        """Return the rows of ``index`` as a query of its own."""
        return Query(self.sources[index], {name: kept[index] for name, kept in self.masks.items()})

    @property
    def columns(self) -> list[Tensor]:
        """``(R,)`` integers each; rows that are equal in all of them are the same."""
        return [*self.sources.unbind(1), *(column for kept in self.masks.values() for column in packed(kept))]

    @classmethod
    def aligned(cls, examples: Tensor, modalities: int) -> "Query":
        """Ask for the real examples themselves, ``(R,)`` indices."""
        return cls(examples.unsqueeze(1).expand(-1, modalities))


@dataclass(frozen=True)
class Derivative:
    """How one output of every row answers to each entry of one modality.

    The derivative of the output by the entry, times the entry's distance from what it is when all units are masked;
    averaged over points on the straight way between the two (integrated gradients, Sundararajan et al. 2017) or, with
    one step, taken at the entry itself (gradient x input). Tokens are followed to their embeddings, whose dimensions
    are added up.

    Against another modality it is a second derivative, by units: of the output by how much is there of a unit of the
    one and of a unit of the other, where both are whole.

    Attributes:
        rows: ``R`` of them; masks of the modalities themselves have no meaning here.
        outputs: ``(R,)`` long: which output of each row.
        modality: Name.
        steps: Points on the way; of a second derivative, how many rows it counts as for each row.
        against: Name of the other modality; nothing for a first derivative.
    """

    rows: Query
    outputs: Tensor
    modality: str
    steps: int = 1
    against: str = ""


def join(queries: Sequence[Query]) -> tuple[Query, list[Tensor]]:
    """Join the queries of several methods and drop repeats.

    A row whose units all stay is the same row as an unmasked one.

    Args:
        queries: At least one, over the same modalities.

    Returns:
        The distinct rows, and for each query ``(R,)`` the distinct row that answers each of its rows.
    """
    everything = _stack(queries)
    rows = numbered(everything.columns)
    distinct, response = torch.unique(rows, return_inverse=True)
    first = torch.full((len(distinct),), len(rows)).scatter_reduce(0, response, torch.arange(len(rows)), "amin")
    # In the order in which they were asked for: rows of one group, or of one example, stay together.
    order = first.argsort()
    response = order.argsort()[response]
    return everything[first[order]], list(torch.split(response, [len(query) for query in queries]))


def numbered(columns: Sequence[Tensor]) -> Tensor:
    """Return ``(R,)`` numbers, equal where all columns are: one sort of numbers is faster than one of rows.

    Args:
        columns: One at the least, of ``(R,)`` integers from 0 on.
    """
    key, *rest = columns
    for column in rest:
        span = int(column.max()) + 1 if len(column) else 1
        if len(key) and int(key.max()) >= LARGEST // span:
            key = torch.unique(key, return_inverse=True)[1]
        key = key * span + column
    return key


def packed(masks: Tensor) -> list[Tensor]:
    """Return ``(R, U)`` masks as columns of integers, as many units in one as fit."""
    powers = 2 ** torch.arange(min(BITS, masks.shape[1]))
    return [(part.long() * powers[: part.shape[1]]).sum(1) for part in torch.split(masks, BITS, 1)]


def _stack(queries: Sequence[Query]) -> Query:
    names = dict.fromkeys(name for query in queries for name in query.masks)
    masks = {name: _stack_masks([query.masks.get(name, _unmasked(query)) for query in queries]) for name in names}
    return Query(torch.cat([query.sources for query in queries]), masks)


def _stack_masks(masks: Sequence[Tensor]) -> Tensor:
    """Put masks behind one another; units that an example does not have stay."""
    most = max(kept.shape[1] for kept in masks)
    return torch.cat([widened(kept, most) for kept in masks])


def _unmasked(query: Query) -> Tensor:
    return torch.ones(len(query), 0, dtype=torch.bool)
