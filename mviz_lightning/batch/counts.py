"""Parts of a batch that determine how many rows of a packed leaf belong to each example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_before, as_tensor
from mviz_lightning.errors import ConfigurationError, NotMeasurableError


class RowCounts(Protocol):
    """The source of the number of rows of each example."""

    @property
    def said(self) -> str:
        """The source of the counts, in words."""

    def lengths(self, batch: Any, total: int) -> list[int]:
        """Return the number of rows of each example of a batch; their sum is ``total``.

        Raises:
            ConfigurationError: Their sum differs from ``total``.
        """


@dataclass(frozen=True)
class CountLeaf:
    """A leaf of whole numbers: ``(B,)`` counts, or a ``(B, k)`` grid whose products count.

    Attributes:
        keys: Keys of the leaf.
        of: Source of the number of rows of this leaf, if an example has several (several pictures); None if it has one
            row per example.
    """

    keys: tree.Keys
    of: RowCounts | None = None

    @property
    def said(self) -> str:
        """The source of the counts, in words."""
        return repr(tree.path(self.keys))

    def lengths(self, batch: Any, total: int) -> list[int]:
        """Return the number of rows of each example."""
        counts = products(as_tensor(tree.get(batch, self.keys)))
        if self.of is not None:
            counts = torch.stack([part.sum() for part in torch.split(counts, self.of.lengths(batch, len(counts)))])
        return _checked(counts.tolist(), total, self.said)


@dataclass(frozen=True)
class Boundaries:
    """A leaf of whole numbers: the first row of each example, and possibly the end of the last example.

    Attributes:
        keys: Keys of the leaf: ``(B + 1,)`` with 0 in front (``cu_seqlens``), or ``(B,)`` without the end (offsets).
        closed: Whether the leaf contains the end of the last example.
    """

    keys: tree.Keys
    closed: bool

    @property
    def said(self) -> str:
        """The source of the counts, in words."""
        return repr(tree.path(self.keys))

    def lengths(self, batch: Any, total: int) -> list[int]:
        """Return the number of rows of each example."""
        places = as_tensor(tree.get(batch, self.keys)).long().flatten().cpu()
        ends = places if self.closed else torch.cat([places, torch.tensor([total])])
        return _checked(ends.diff().tolist(), total, self.said)

    def of(self, lengths: Sequence[int]) -> Tensor:
        """Return the leaf for other numbers of rows."""
        ends = torch.tensor([0, *lengths]).cumsum(0)
        return ends if self.closed else ends[:-1]


@dataclass(frozen=True)
class Numbers:
    """A leaf ``(L,)`` with the number of the example of each row, in order.

    Attributes:
        keys: Keys of the leaf.
        sized: Keys of a leaf with one entry per example, because the last examples may have no rows; None if there is
            no such leaf.
    """

    keys: tree.Keys
    sized: tree.Keys | None

    @property
    def said(self) -> str:
        """The source of the counts, in words."""
        return repr(tree.path(self.keys))

    def lengths(self, batch: Any, total: int) -> list[int]:
        """Return the number of rows of each example."""
        numbers = as_tensor(tree.get(batch, self.keys)).long().cpu()
        size = 0 if self.sized is None else len(tree.get(batch, self.sized))
        return _checked(torch.bincount(numbers, minlength=size).tolist(), total, self.said)

    def of(self, lengths: Sequence[int]) -> Tensor:
        """Return the leaf for other numbers of rows."""
        return torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.long))


@dataclass(frozen=True)
class Longest:
    """The number of rows of the longest example (``max_seqlen``); it does not determine the other examples' rows.

    Attributes:
        keys: Keys of the number.
    """

    keys: tree.Keys

    def of(self, lengths: Sequence[int]) -> Tensor:
        """Return the number for other numbers of rows."""
        return torch.tensor(max(lengths, default=0))


@dataclass(frozen=True)
class Edges:
    """Edges ``(2, E)`` between rows of a packed leaf; they count the rows of leaves with one row per edge.

    Attributes:
        keys: Keys of the edges.
        nodes: Source of the number of rows that the edges connect.
        rows: Keys of the packed leaf with these rows.
    """

    keys: tree.Keys
    nodes: RowCounts
    rows: tree.Keys

    @property
    def said(self) -> str:
        """The source of the counts, in words."""
        return repr(tree.path(self.keys))

    def lengths(self, batch: Any, total: int) -> list[int]:
        """Return the number of edges of each example."""
        edges = as_tensor(tree.get(batch, self.keys))
        return _checked([part.shape[1] for part in self.split(batch, edges)], total, self.said)

    def split(self, batch: Any, edges: Tensor) -> list[Tensor]:
        """Return each example's edges, with rows numbered within the example.

        Raises:
            NotMeasurableError: An edge connects two examples, or the edges of one example are not contiguous.
        """
        lengths = self.nodes.lengths(batch, len(tree.get(batch, self.rows)))
        ends = torch.tensor([0, *lengths], device=edges.device).cumsum(0)
        example = torch.bucketize(edges, ends[1:], right=True)
        if bool((example[0] != example[1]).any()) or bool((example[0].diff() < 0).any()):
            raise NotMeasurableError(
                f"{self.said}: an edge leads from one example to another, or the edges of an example do not stand "
                "together. Allowed are edges within examples, one example behind another."
            )
        parts = torch.bincount(example[0], minlength=len(lengths)).tolist()
        return list(torch.split(edges - ends[example], parts, 1))


@dataclass(frozen=True)
class Derived:
    """A node of the batch that is computed from the numbers of rows of a packed leaf.

    Attributes:
        made: Computes the node.
        packed: Path of the packed leaf.
        exemplar: A node of the same type.
    """

    made: Boundaries | Numbers | Longest
    packed: str
    exemplar: Any

    @property
    def keys(self) -> tree.Keys:
        """Keys of the node."""
        return self.made.keys

    def write(self, rows: Sequence[Tensor]) -> Any:
        """Return the node for these rows of the packed leaf, one entry per example."""
        node = self.made.of([len(row) for row in rows])
        if isinstance(self.exemplar, int):
            return int(node)
        kind = as_tensor(self.exemplar)
        return as_before(node.to(kind.dtype).reshape(-1 if kind.dim() else ()).to(rows[0].device), self.exemplar)


def products(counts: Tensor) -> Tensor:
    """Return the product of each row of counts, ``(K,)`` long on the CPU."""
    return counts.long().cpu().reshape(len(counts), -1).prod(1)


def _checked(lengths: list[int], total: int, said: str) -> list[int]:
    if sum(lengths) != total or min(lengths, default=0) < 0:
        raise ConfigurationError(
            f"{said} counts {sum(lengths)} rows, but the packed leaf has {total}. Name the leaf that counts them: "
            'Modality(..., lengths="path").'
        )
    return lengths
