"""The packed nodes of a batch, and all that travels with them."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor, empty_like
from mviz_lightning.batch.counts import Boundaries, CountLeaf, Counts, Derived, Edges, Longest, Numbers
from mviz_lightning.batch.discovery import NamedNodes
from mviz_lightning.batch.holdings import Holding, Packed, PackedEdges
from mviz_lightning.batch.packing import CountFinder
from mviz_lightning.batch.rows import example_count


class PackedNodes:
    """Finds what counts packed leaves, and which nodes travel with them.

    Args:
        nodes: The batch's nodes.
        size: Number of examples.
        values: Name of a modality -> the paths of its leaves that the user named.
        target: Path of the labels.

    Attributes:
        known: Path of a packed node -> how it holds its examples.
        beside: Name of a modality -> the further leaves that travel with its packed ones.
        derived: Nodes that are made from numbers of rows.
    """

    def __init__(self, nodes: NamedNodes, size: int, values: Mapping[str, Sequence[str]], target: str | None) -> None:
        self.known: dict[str, Holding] = {}
        self.beside: dict[str, list[str]] = {}
        self.derived: list[Derived] = []
        self._nodes, self._size, self._batch = nodes, size, nodes.found[""][1]
        self._owned = {nodes.base(path) for paths in values.values() for path in paths} | {target or ""}
        content = {nodes.base(paths[0]) for paths in values.values() if paths}
        self._finder = CountFinder(nodes.found, size, content | {target or ""})

    def register(self, path: str, name: str, given: str | None = None) -> None:
        """Find what counts the rows of a leaf that does not have one row for each example; else do nothing.

        Args:
            path: Path of the leaf.
            name: Its modality.
            given: Path of the leaf that the user says counts them; None without one.

        Raises:
            ConfigurationError: Two leaves count them differently, or the given one does not count them.
        """
        base, value = self._nodes.base(path), as_tensor(self._nodes.value(path))
        stacked = example_count(value) == self._size and (given is None or given == path)
        if base in self.known or self._nodes.place(path).inner or stacked or not isinstance(value, Tensor):
            return
        counts = self._finder.of(base, given)
        if counts is not None:
            self.known[base] = Packed(counts, empty_like(self._nodes.value(path)))
            self._register_beside(path, counts, len(value), name)

    def _register_beside(self, path: str, counts: Counts, total: int, name: str) -> None:
        """Note what travels with a packed leaf: what counts it, what has as many rows, edges between its rows."""
        self._note_counter(path, counts, name)
        for edges_path, edges in self._finder.edges(self._nodes.base(path), counts, total):
            self._add(edges_path, PackedEdges(edges, path), name)
            self._add_rows(int(self._nodes.found[edges_path][1].shape[1]), edges, name)
        self._add_rows(total, counts, name)
        for longest in self._finder.longest(max(counts.lengths(self._batch, total), default=0)):
            self._derive(longest, path)

    def _note_counter(self, path: str, counts: Counts, name: str) -> None:
        if isinstance(counts, Boundaries | Numbers):
            self._derive(counts, path)
        elif isinstance(counts, CountLeaf):
            counter = tree.path(counts.keys)
            if counts.of is None:
                self._travels(counter, name)
            else:
                self._add(counter, Packed(counts.of, empty_like(self._nodes.found[counter][1])), name)
                self._note_counter(counter, counts.of, name)

    def _derive(self, made: Boundaries | Numbers | Longest, packed: str) -> None:
        exemplar = empty_like(tree.get(self._batch, made.keys))
        self.derived.append(Derived(made, packed, exemplar))

    def _add_rows(self, total: int, counts: Counts | Edges, name: str) -> None:
        """Add the leaves with this number of rows, unless they may have one row for each example."""
        for path, value in self._tensors() if total != self._size else ():
            if len(value) == total:
                self._add(path, Packed(counts, empty_like(self._nodes.found[path][1])), name)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        made = {one.keys for one in self.derived}
        for path, (place, value) in self._nodes.found.items():
            tensor = as_tensor(value)
            if not place.inner and place.keys not in made and isinstance(tensor, Tensor) and tensor.dim():
                yield path, tensor

    def _add(self, path: str, holding: Holding, name: str) -> None:
        if path not in self.known:
            self.known[path] = holding
            self._travels(path, name)

    def _travels(self, path: str, name: str) -> None:
        beside = self.beside.setdefault(name, [])
        if path not in self._owned and path not in beside:
            beside.append(path)
            self._owned.add(path)
