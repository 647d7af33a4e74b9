"""The packed nodes of a batch, and the nodes that belong to them."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_tensor, empty_like
from mviz_lightning.batch.counts import Boundaries, CountLeaf, Derived, Edges, Longest, Numbers, RowCounts
from mviz_lightning.batch.discovery import NamedNodes
from mviz_lightning.batch.holdings import Holding, Packed, PackedEdges, StackedViews
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.packing import CountFinder
from mviz_lightning.batch.rows import describe_leaf, example_count
from mviz_lightning.errors import ConfigurationError


class PackedNodes:
    """Finds the counters of packed leaves, and the nodes that belong to them.

    Args:
        nodes: The batch's nodes.
        size: Number of examples.
        values: Name of a modality -> the paths of its leaves that the user named.
        told: Paths of the counters that the user named; they count no other leaves, and are not rows themselves.
        target: Path of the labels, which are no counter; None without labels.

    Attributes:
        known: Path of a packed node -> how it stores its examples.
        beside: Name of a modality -> the further leaves that belong to its packed leaves.
        derived: Nodes that are computed from numbers of rows.
    """

    def __init__(
        self,
        nodes: NamedNodes,
        size: int,
        values: Mapping[str, Sequence[str]],
        told: AbstractSet[str],
        target: str | None,
    ) -> None:
        self.known: dict[str, Holding] = {}
        self.beside: dict[str, list[str]] = {}
        self.derived: list[Derived] = []
        self._found: list[tuple[str, RowCounts, int, str]] = []
        self._values, self._told = values, told
        self._nodes, self._size, self._batch = nodes, size, nodes.found[""][1]
        labels = set() if target is None else {target}
        self._owned = {nodes.base(path) for paths in values.values() for path in paths} | labels
        content = {nodes.base(paths[0]) for paths in values.values() if paths}
        self._finder = CountFinder(nodes.found, size, content | labels | told)

    def register(self, path: str, name: str, given: str | None = None) -> None:
        """Find the counter of a leaf's rows, unless the leaf has one row per example.

        Args:
            path: Path of the leaf.
            name: Its modality.
            given: Path of the counter that the user named; None if the user named none.

        Raises:
            ConfigurationError: Two leaves count them differently, or the given one does not count them.
        """
        base, value = self._nodes.base(path), as_tensor(self._nodes.value(path))
        stacked = example_count(value) == self._size and (given is None or given == path)
        if base in self.known or self._nodes.place(path).inner or stacked or not isinstance(value, Tensor):
            return
        if given is not None and self._tells_real_entries(value, given):
            self._travels(given, name)
            return
        counted = self._finder.of(base, given)
        if counted:
            self.known[base] = Packed(counted[0], empty_like(self._nodes.value(path)))
            self._require_no_other_modality(path, name, counted[0], len(value))
            self._found += [(path, counts, len(value), name) for counts in counted]
            self._require_own_counter(path, counted)

    def _require_no_other_modality(self, path: str, name: str, counts: RowCounts, total: int) -> None:
        """Raise if one leaf counts the rows of two modalities: after recombination it would be right for only one.

        Raises:
            ConfigurationError: There are two, and the examples differ in their number of rows.
        """
        others = [(other, theirs) for other, known, _, theirs in self._found if known == counts and theirs != name]
        if others and len(set(counts.lengths(self._batch, total))) > 1:
            other, theirs = others[0]
            raise ConfigurationError(
                f"modalities: {counts.said} counts the rows of {other!r} of {theirs!r} and of {path!r} of {name!r}, so "
                "rows of different examples cannot be recombined. Allowed is a counter for each modality. Put both "
                f"leaves into one modality: {{{theirs!r}: [{other!r}, {path!r}]}}."
            )

    def register_views(self, paths: Sequence[str], name: str, modality: Modality) -> None:
        """Register that each example has the same number of rows, in the leaves of a modality and in further leaves.

        Args:
            paths: Paths of the modality's leaves, the values first.
            name: The modality.
            modality: Its ``lengths`` and ``blocks`` give the number of rows and their order.

        Raises:
            ConfigurationError: The values do not have that many rows for each example.
        """
        total, values = self._size * (modality.views or 1), as_tensor(self._nodes.value(paths[0]))
        if not isinstance(values, Tensor) or example_count(values) != total:
            raise ConfigurationError(
                f"Modality({modality.values!r}, lengths={modality.lengths}): {describe_leaf(values)} does not hold "
                f"{modality.lengths} rows for each of {self._size} examples. Give the number of rows of an example."
            )
        stacked = [path for path, value in self._tensors() if len(value) == total and path not in self._owned]
        for path in [*map(self._nodes.base, paths), *stacked]:
            node = self._nodes.found[path][1]
            if example_count(as_tensor(node)) == total:
                self._add(path, StackedViews(modality.views or 1, modality.blocks, empty_like(node)), name)

    def _require_own_counter(self, path: str, counted: Sequence[RowCounts]) -> None:
        """Raise if it is unclear which of several counters counts which of two packed leaves.

        Raises:
            ConfigurationError: Another packed leaf is counted by the same leaves, and there are several.
        """
        others = [other for other, counts, _, _ in self._found if other != path and counts == counted[0]]
        if others and len(counted) > 1:
            said = " and ".join(counts.said for counts in counted)
            raise ConfigurationError(
                f"{said} have equal counts for {others[0]!r} and {path!r} in this batch. Name the counter: "
                f"Modality({path!r}, lengths=...)."
            )

    def register_beside(self) -> None:
        """Register the nodes that belong to the registered packed leaves."""
        for found in self._found:
            self._register_beside(*found)

    def _tells_real_entries(self, value: Tensor, given: str) -> bool:
        """Return whether a leaf has the number of real entries of each padded example, not the example of each row."""
        numbers = as_tensor(self._nodes.found[given][1])
        lengths = isinstance(numbers, Tensor) and numbers.shape == (self._size,) and not numbers.is_floating_point()
        steps = numbers.long().diff() if lengths else Tensor()
        if lengths and int(numbers[0]) == 0 and bool(((steps == 0) | (steps == 1)).all()):
            return False
        return len(value) == self._size and value.dim() > 1 and lengths and int(numbers.max()) <= value.shape[1]

    def _register_beside(self, path: str, counts: RowCounts, total: int, name: str) -> None:
        """Register what belongs to a packed leaf: its counter, leaves with as many rows, edges between its rows."""
        self._note_counter(path, counts, name)
        for edges_path, edges in self._finder.edges(self._nodes.base(path), counts, total, self._values[name]):
            self._add(edges_path, PackedEdges(edges, path), name)
            self._add_rows(int(self._nodes.found[edges_path][1].shape[1]), edges, name)
        self._add_rows(total, counts, name)
        for longest in self._finder.longest(max(counts.lengths(self._batch, total), default=0)):
            self._derive(longest, path)

    def _note_counter(self, path: str, counts: RowCounts, name: str) -> None:
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

    def _add_rows(self, total: int, counts: RowCounts | Edges, name: str) -> None:
        """Add the leaves with this number of rows, unless they may have one row for each example."""
        for path, value in self._tensors() if total != self._size else ():
            if len(value) == total and path not in self._owned:
                self._add(path, Packed(counts, empty_like(self._nodes.found[path][1])), name)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors that may contain rows, by path; not those in a user's list, which are one example each."""
        made = {one.keys for one in self.derived}
        within = tuple(f"{path}." for path in self._owned)
        for path, (place, value) in self._nodes.found.items():
            tensor, counts = as_tensor(value), place.keys in made or path in self._told
            if not (place.inner or counts or path.startswith(within)) and isinstance(tensor, Tensor) and tensor.dim():
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
