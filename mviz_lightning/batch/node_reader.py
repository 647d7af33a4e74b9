"""Read the leaves in one node of a batch, and rebuild the node from leaves."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.holdings import Holding, Lengths, WholeExamples, present, with_values
from mviz_lightning.batch.index import Index, spelled
from mviz_lightning.batch.outline import Place
from mviz_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class NodeReader:
    """The leaves in one node.

    Attributes:
        keys: Keys of the node.
        holding: How the node stores its examples.
        places: Path of every leaf in the node -> its place.
        shapes: Keys within an example -> shape of the array there, for arrays that are read in parts.
        example: An example of a node of whole examples.
    """

    keys: tree.Keys
    holding: Holding
    places: Mapping[str, Place]
    shapes: Mapping[tree.Keys, tuple[int, ...]] = field(default_factory=dict)
    example: Any = None

    def read(self, batch: Any) -> dict[str, Any]:
        """Return path -> leaf, a tensor or a list with one entry per example.

        Raises:
            ConfigurationError: The node cannot be read.
            KeyError: The batch has no such node.
        """
        rows = self.holding.read(batch, tree.get(batch, self.keys))
        return {path: self._part(path, place, rows) for path, place in self.places.items()}

    def _part(self, path: str, place: Place, rows: Any) -> Any:
        values = [entry_of(row, place.inner) for row in rows] if place.inner else rows
        if place.index is None:
            return values
        if isinstance(values, Tensor):
            self._require_shape(path, place, values.shape[1:])
            return place.index.take(values, 1)
        arrays = [as_tensor(value) for value in values]
        for array in present(arrays):
            self._require_shape(path, place, array.shape)
        return [None if array is None else place.index.take(array, 0) for array in arrays]

    def _require_shape(self, path: str, place: Place, shape: Sequence[int]) -> None:
        """Check that an array has the sizes of the first batch along the axes that are read in part."""
        first = self.shapes[place.inner]
        whole = [] if place.index is None else place.index.whole_axes(len(first))
        if len(shape) != len(first) or any(shape[k] != first[k] for k in range(len(first)) if k not in whole):
            raise ConfigurationError(
                f"{path!r}: the array of an example has the shape {tuple(shape)}, but {first} in the first batch. An "
                "index may leave whole only the axes along which examples differ."
            )

    def write(self, leaves: Mapping[str, Any], lengths: Lengths) -> Any:
        """Return the node.

        Args:
            leaves: Path -> leaf with R entries; a list of tensors if the holding is not padded.
            lengths: Path of a packed leaf -> the number of rows of each example.
        """
        if not isinstance(self.holding, WholeExamples) or list(self.places.values()) == [Place(self.keys)]:
            return self.holding.write(self._composed((), leaves), lengths)
        columns = {
            inner: self._composed(inner, leaves) for inner in dict.fromkeys(p.inner for p in self.places.values())
        }
        exemplars = {inner: tree.get(self.example, inner) for inner in columns}
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return self.holding.write([with_values(self.example, row, exemplars) for row in rows], lengths)

    def _composed(self, inner: tree.Keys, leaves: Mapping[str, Any]) -> Any:
        """Return one value for each row from its parts."""
        parts = {path: place for path, place in self.places.items() if place.inner == inner}
        rest = next((leaves[path] for path, place in parts.items() if place.index is None), None)
        indexed = [(place.index, leaves[path]) for path, place in parts.items() if place.index is not None]
        if not indexed:
            return rest
        first = indexed[0][1]
        if isinstance(first, Tensor):
            return self._assembled(inner, rest, indexed, 1)
        wholes = [None] * len(first) if rest is None else map(as_tensor, rest)
        rows = zip(wholes, *(rows for _, rows in indexed), strict=True)
        indices = [index for index, _ in indexed]
        return [self._assembled(inner, whole, list(zip(indices, row, strict=True)), 0) for whole, *row in rows]

    def _assembled(
        self, inner: tree.Keys, whole: Tensor | None, parts: Sequence[tuple[Index, Tensor]], first: int
    ) -> Tensor:
        """Return an array with parts from several examples; shorter parts are padded with 0 at the end.

        Args:
            inner: Keys within an example to the array.
            whole: The whole array, for entries that are in no part; None if parts cover all entries.
            parts: Indices and parts.
            first: The axis that is the first axis of an example's array.
        """
        shape = self._extent(inner, whole, parts, first)
        array = parts[0][1].new_zeros((*parts[0][1].shape[:first], *shape))
        if whole is not None:
            array[tuple(map(slice, whole.shape))] = whole
        for index, part in parts:
            own = {axis: part.shape[first + axis] for axis in index.whole_axes(len(shape))}
            sizes = (slice(None),) * first + tuple(slice(own.get(axis)) for axis in range(len(shape)))
            index.put(array[sizes], part, first)
        return array

    def _extent(
        self, inner: tree.Keys, whole: Tensor | None, parts: Sequence[tuple[Index, Tensor]], first: int
    ) -> list[int]:
        """Return the shape of an example's array; along axes that all parts select whole, the largest size."""
        shape = list(self.shapes[inner]) if whole is None else list(whole.shape[first:])
        axes = [index.whole_axes(len(shape)) for index, _ in parts]
        for axis in range(len(shape)):
            if all(axis in own for own in axes):
                sizes = [part.shape[first + axis] for _, part in parts]
                shape[axis] = max(sizes if whole is None else [*sizes, shape[axis]])
        return shape

    def tensors(self, batch: Any) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Yield path, tensor and entries for every leaf and every tensor that contains it.

        The third value is bool, broadcastable to the tensor, True at the leaf's entries; None for all entries.
        """
        for keys, value in tree.nodes(tree.get(batch, self.keys)):
            held = value if isinstance(value, PackedSequence) else [value]
            inside = [path for path, place in self.places.items() if place.inner and place.inner in (keys, keys[1:])]
            for tensor in (one for one in held if isinstance(one, Tensor)):
                yield from ((path, tensor, self._entries(path, tensor)) for path in inside or self.places)

    def _entries(self, path: str, tensor: Tensor) -> Tensor | None:
        """Return which entries of an array (or of a batch of arrays) belong to a leaf; None for all."""
        own = self.places[path]
        indices = {known: place.index for known, place in self.places.items() if place.inner == own.inner}
        parts = {known: index for known, index in indices.items() if index is not None}
        if not parts:
            return None
        shape = tensor.shape[tensor.dim() - len(self.shapes[own.inner]) :]
        return parts[path].covered(shape) if path in parts else _uncovered(parts.values(), shape)

    def written(self, path: str) -> str:
        """Return a leaf's path as users write it, with an index for the entries that no other part selects."""
        own = self.places[path]
        parts = [place.index for place in self.places.values() if place.inner == own.inner and place.index is not None]
        text = spelled(_uncovered(parts, self.shapes[own.inner])) if parts and own.index is None else None
        return path if text is None else f"{path}[{text}]"


def _uncovered(parts: Iterable[Index], shape: Sequence[int]) -> Tensor:
    """Return a bool tensor of this shape, True at the entries that no part selects."""
    return ~torch.stack([index.covered(shape) for index in parts]).any(0)


def entry_of(example: Any, keys: tree.Keys) -> Any:
    """Return a value inside an example; None if it has no such entry, or a container above it is None."""
    try:
        return tree.get(example, keys)
    except KeyError:
        return None


def require_apart(places: Mapping[str, Place], shape: Sequence[int]) -> bool:
    """Check that the parts of an array do not overlap; return whether they cover all of it.

    Args:
        places: Path -> place, all of one array.
        shape: The shape of one example's array.

    Raises:
        ConfigurationError: Two overlap, or one is out of range.
    """
    taken = torch.zeros(tuple(shape), dtype=torch.bool)
    for path, place in places.items():
        if place.index is None:
            continue
        place.index.require_fits(path, shape)
        own = place.index.covered(shape)
        if bool((own & taken).any()):
            other = next(o for o, p in places.items() if p.index and bool((own & p.index.covered(shape)).any()))
            raise ConfigurationError(
                f"modalities: {other!r} and {path!r} overlap; the array of one example has the shape {tuple(shape)}. "
                "Give each entry to one modality."
            )
        taken |= own
    return bool(taken.all())
