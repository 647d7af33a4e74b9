"""How a node of a batch stores its examples: stacked, in a list, concatenated, or as whole objects."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence, unpad_sequence

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_before, as_tensor
from mviz_lightning.batch.counts import Edges, RowCounts
from mviz_lightning.errors import NotMeasurableError

Lengths: TypeAlias = Callable[[str], Sequence[int]]
"""Path of a packed leaf -> the number of rows of each example."""


class Holding(Protocol):
    """Reads the examples of a node, and builds such a node from other examples."""

    padded: bool
    """Whether examples of different shapes are padded in the user's own batches."""

    def read(self, batch: Any, node: Any) -> Any:
        """Return a tensor or a list with one entry per example."""

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return a node of these examples."""


@dataclass(frozen=True)
class Stacked:
    """A node whose first dimension is the example: a tensor, an array, a packed sequence, a list of strings.

    Attributes:
        exemplar: A node of the same type; it may be empty.
    """

    exemplar: Any
    padded = True

    def read(self, batch: Any, node: Any) -> Any:
        """Return the node; an array becomes a tensor."""
        return as_tensor(node)

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the rows as an array of the user's type."""
        return as_before(rows, self.exemplar)


@dataclass(frozen=True)
class Listed:
    """A list or tuple with one array or picture per example.

    Attributes:
        container: ``list`` or ``tuple``.
        exemplar: An entry of the same type; it may be empty.
    """

    container: type
    exemplar: Any
    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return the entries."""
        return list(node)

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the rows in a container of the user's type."""
        return self.container(as_before(row, self.exemplar) for row in rows)


@dataclass(frozen=True)
class PackedSequences:
    """A :class:`torch.nn.utils.rnn.PackedSequence`."""

    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return the sequence of each example, ``(T, ...)``."""
        rows, lengths = pad_packed_sequence(node, batch_first=True)
        return unpad_sequence(rows, lengths, batch_first=True)

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the sequences packed, in the order of the examples."""
        return pack_sequence(list(rows), enforce_sorted=False)


@dataclass(frozen=True)
class Nested:
    """A nested tensor.

    Attributes:
        layout: Its layout: ``torch.jagged`` or ``torch.strided``.
    """

    layout: torch.layout
    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return the tensor of each example."""
        return list(node.unbind())

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the tensors in one nested tensor."""
        return torch.nested.as_nested_tensor(list(rows), layout=self.layout)


@dataclass(frozen=True)
class Packed:
    """A tensor with the rows of all examples one after another.

    Attributes:
        counts: How many rows each example has.
        exemplar: A node of the same type; it may be empty.
    """

    counts: RowCounts
    exemplar: Any
    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return the rows of each example."""
        rows = as_tensor(node)
        return list(torch.split(rows, self.counts.lengths(batch, len(rows))))

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the rows of all examples, one after another."""
        return as_before(torch.cat(list(rows)), self.exemplar)


@dataclass(frozen=True)
class StackedViews:
    """A tensor with the same number of rows for each example.

    Attributes:
        each: Number of rows of an example, V.
        blocks: Whether blocks of all examples follow one another (row v * B + i is example i). Otherwise the rows of an
            example follow one another (row i * V + v).
        exemplar: A node of the same type; it may be empty.
    """

    each: int
    blocks: bool
    exemplar: Any
    padded = True

    def read(self, batch: Any, node: Any) -> Any:
        """Return ``(B, V, ...)`` rows of each example.

        Raises:
            NotMeasurableError: The number of rows is not a multiple of V.
        """
        rows = as_tensor(node)
        if len(rows) % self.each:
            raise NotMeasurableError(
                f"a leaf has {len(rows)} rows, which is not a multiple of lengths={self.each}. Give batches of whole "
                "examples."
            )
        return rows.unflatten(0, (self.each, -1)).transpose(0, 1) if self.blocks else rows.unflatten(0, (-1, self.each))

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the rows of all examples in the order of the user's own batches."""
        ordered = rows.transpose(0, 1) if self.blocks else rows
        return as_before(ordered.flatten(0, 1), self.exemplar)


@dataclass(frozen=True)
class PackedEdges:
    """``(2, E)`` edges between the rows of a packed leaf, as row numbers of both ends.

    Attributes:
        edges: The edges that belong to each example.
        nodes: Path of the packed leaf.
    """

    edges: Edges
    nodes: str
    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return each example's edges, ``(2, E)``, with rows numbered within the example."""
        return self.edges.split(batch, as_tensor(node))

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the edges of all examples, with rows numbered within the packed leaf."""
        counts = torch.tensor([0, *lengths(self.nodes)]).cumsum(0)[:-1].tolist()
        return torch.cat([row + first for row, first in zip(rows, counts, strict=True)], 1)


@dataclass(frozen=True)
class WholeExamples:
    """A node with one object per example: a list of dicts, a batch of graphs.

    Attributes:
        split: Splits the node into the list of its examples.
        join: Builds such a node from a list of examples.
    """

    split: Callable[[Any], Sequence[Any]]
    join: Callable[[Sequence[Any]], Any]
    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return the examples."""
        return list(self.split(node))

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the examples in one object of the user's type."""
        return self.join(list(rows))


def with_values(example: Any, values: Mapping[tree.Keys, Any], exemplars: Mapping[tree.Keys, Any]) -> Any:
    """Return a copy of an example with other values at some keys, as arrays of the user's types."""
    return tree.replace(
        tree.copied(example), {keys: as_before(value, exemplars[keys]) for keys, value in values.items()}
    )


def present(entries: Iterable[Any]) -> list[Any]:
    """Return the entries that are not None; None means that an example has no entry."""
    return [entry for entry in entries if entry is not None]


def unpadded(rows: Any, own: Any) -> list[Any]:
    """Return the rows of a leaf one by one, each without its padding.

    Args:
        rows: ``(R, ...)`` in the largest shape, or a list of R entries.
        own: ``(R, D, 2)`` start and stop of each row's own entries along each further dimension, or a list of R tensors
            with the rows' own shapes; None if no row is padded.
    """
    if own is None or not isinstance(rows, Tensor):
        return list(rows)
    if isinstance(own, Tensor):
        return [row[tuple(slice(*bound) for bound in bounds)] for row, bounds in zip(rows, own.tolist(), strict=True)]
    return [row[tuple(map(slice, like.shape))] for row, like in zip(rows, own, strict=True)]


def padded(rows: Any, shape: Sequence[int] | None = None) -> Any:
    """Return a list of arrays as one tensor, padded with 0 after their entries; anything else unchanged.

    Args:
        rows: A list of R arrays with the same number of dimensions, or any other leaf.
        shape: The shape of a row of the result; by default the largest shape.
    """
    arrays = as_tensors(rows)
    if arrays is None:
        return rows
    extent = torch.tensor([tuple(array.shape) for array in arrays]).amax(0).tolist() if shape is None else shape
    if all(list(array.shape) == list(extent) for array in arrays):
        return torch.stack(arrays)
    return torch.stack([padded_to(array, extent) for array in arrays])


def as_tensors(rows: Any) -> list[Tensor] | None:
    """Return a list of arrays as tensors; None for anything else, and for arrays of different ranks or types."""
    if not isinstance(rows, list) or not rows:
        return None
    arrays = [as_tensor(row) for row in rows]
    alike = all(isinstance(array, Tensor) for array in arrays) and len({(a.dim(), a.dtype) for a in arrays}) == 1
    return arrays if alike else None


def padded_to(array: Tensor, shape: Sequence[int]) -> Tensor:
    """Return an array padded with 0 after its entries, in a shape at least as large as its own."""
    missing = [size - has for size, has in zip(shape, array.shape, strict=True)]
    return pad(array, [side for size in reversed(missing) for side in (0, size)])
