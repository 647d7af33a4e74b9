"""Read the leaves that lie in one node of a batch, and make the node again from leaves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.holdings import Holding, Lengths, WholeExamples, with_values
from mviz_lightning.batch.outline import Place
from mviz_lightning.errors import ConfigurationError


@dataclass(frozen=True)
class NodeReader:
    """The leaves in one node.

    Attributes:
        keys: Keys of the node.
        holding: How it holds its examples.
        places: Path of every leaf in it -> where it is.
        shapes: Keys within an example -> shape of the array there, where it is read in parts.
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
        values = [tree.get(row, place.inner) for row in rows] if place.inner else rows
        if place.index is None:
            return values
        if isinstance(values, Tensor):
            self._require_shape(path, place, values.shape[1:])
            return place.index.take(values, 1)
        arrays = [as_tensor(value) for value in values]
        for array in arrays:
            self._require_shape(path, place, array.shape)
        return [place.index.take(array, 0) for array in arrays]

    def _require_shape(self, path: str, place: Place, shape: Sequence[int]) -> None:
        """Check that an array is as long as the first batch's along the axes of which a part is read."""
        first = self.shapes[place.inner]
        whole = place.index.whole_axes(len(first)) if place.index is not None else []
        if len(shape) != len(first) or any(
            not free and size != before for free, size, before in zip(whole, shape, first, strict=True)
        ):
            raise ConfigurationError(
                f"{path!r}: the array of an example has the shape {tuple(shape)}, but {first} in the first batch. An "
                "index may leave whole only the axes along which examples differ."
            )

    def write(self, leaves: Mapping[str, Any], lengths: Lengths) -> Any:
        """Return the node.

        Args:
            leaves: Path -> leaf with R entries; a list of tensors where the holding is not padded.
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
        indexed = [(place, leaves[path]) for path, place in parts.items() if place.index is not None]
        if not indexed:
            return rest
        first = indexed[0][1]
        if isinstance(first, Tensor):
            return _put(self._blank(inner, indexed, 1) if rest is None else rest.clone(), indexed, 1)
        rows = range(len(first))
        return [
            _put(self._blank(inner, single, 0) if rest is None else as_tensor(rest[row]).clone(), single, 0)
            for row in rows
            for single in [[(place, part[row]) for place, part in indexed]]
        ]

    def _blank(self, inner: tree.Keys, parts: Sequence[tuple[Place, Tensor]], first: int) -> Tensor:
        """Return an array for all of the parts; where they take a whole axis, it is as long as in the first of them."""
        place, part = parts[0]
        shape = list(self.shapes[inner])
        if place.index is not None:
            for axis, whole in enumerate(place.index.whole_axes(len(shape))):
                if whole:
                    shape[axis] = part.shape[first + place.index.kept_axis(axis, len(shape))]
        return part.new_empty((*part.shape[:first], *shape))

    def tensors(self, batch: Any) -> Iterator[tuple[Tensor, list[str]]]:
        """Yield every tensor of the node with the paths of the leaves that it holds parts of."""
        for keys, value in tree.nodes(tree.get(batch, self.keys)):
            inside = [path for path, place in self.places.items() if place.inner and place.inner == keys]
            held = value if isinstance(value, PackedSequence) else [value]
            yield from ((one, inside or list(self.places)) for one in held if isinstance(one, Tensor))


def _put(array: Tensor, parts: Sequence[tuple[Place, Tensor]], first: int) -> Tensor:
    for place, part in parts:
        if place.index is not None:
            place.index.put(array, part, first)
    return array


def require_apart(places: Mapping[str, Place], shape: Sequence[int]) -> bool:
    """Check that the parts of an array do not overlap; tell whether they take all of it.

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
