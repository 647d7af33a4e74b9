"""The schema of the user's batches: the positions of each modality, the target and all other leaves."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.counts import Derived
from mviz_lightning.batch.discovery import describe_leaves
from mviz_lightning.batch.holdings import Listed, Stacked, StackedViews, padded, unpadded
from mviz_lightning.batch.index import Index
from mviz_lightning.batch.interleaved.dealing import ItemTokens
from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.batch.interleaved.placeholders import NO_TOKENS, PlaceholderTokens
from mviz_lightning.batch.interleaved.rebuilding import require_same
from mviz_lightning.batch.learning import learned
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.node_reader import NodeReader
from mviz_lightning.batch.outline import Place
from mviz_lightning.batch.rows import example_count, take_examples, to_device
from mviz_lightning.batch.template import moved
from mviz_lightning.errors import NotMeasurableError, message_of


@dataclass(frozen=True)
class BatchSchema:
    """The positions of the modalities in a batch, and how a batch is built from leaves.

    Attributes:
        modalities: Name -> modality, in the order in which they were declared.
        owners: Path of every leaf -> position of the modality with which it is recombined; 0 for leaves of no modality
            (labels, ids).
        values: Name of a modality -> paths of its leaves, the values first.
        target: Path of the labels.
        readers: The nodes that contain leaves.
        derived: Nodes that are computed from the numbers of rows of packed leaves.
        template: A batch without leaves: everything that does not depend on the examples.
        whole: For a schema of some of the modalities, the schema of all.
        interleaving: The text with placeholders of other modalities, and their positions; None without such a text.
    """

    modalities: Mapping[str, Modality]
    owners: Mapping[str, int]
    values: Mapping[str, list[str]]
    target: str | None
    readers: tuple[NodeReader, ...]
    derived: tuple[Derived, ...]
    template: Any
    whole: "BatchSchema | None" = None
    interleaving: Interleaving | None = None

    @classmethod
    def learn(
        cls,
        batch: Any,
        modalities: Mapping[str, Modality],
        target: str | None = None,
        tokens: PlaceholderTokens = NO_TOKENS,
        ask: ItemTokens | None = None,
    ) -> "BatchSchema":
        """Find the leaves in a first batch.

        Args:
            batch: The user's own batch.
            modalities: Name -> modality.
            target: Path of the labels, if any.
            tokens: The placeholders of the model.
            ask: Returns the number of placeholders of each item; None if the model has no rule.

        Raises:
            ConfigurationError: There is no node at a path, a leaf belongs to two modalities, parts of one array
                overlap, or leaves differ in their number of examples.
        """
        found = learned(batch, modalities, target, tokens, ask)
        leaves = found.owners, found.values, target, found.readers, found.derived, found.template
        schema = cls(found.modalities, *leaves, interleaving=found.interleaving)
        if schema.interleaving is not None:
            require_same(schema, batch)
        return schema

    def narrowed(self, names: Sequence[str]) -> "BatchSchema":
        """Return the schema of some modalities; other leaves (as labels) are recombined with the first of them."""
        whole = self.whole or self
        places = {path: place for place, name in enumerate(names) for path in whole.values[name]}
        owners = {path: places.get(path, 0) for path in whole.owners}
        modalities, values = {n: whole.modalities[n] for n in names}, {n: whole.values[n] for n in names}
        return replace(self, modalities=modalities, owners=owners, values=values, whole=whole)

    def declared_as(self, modalities: Mapping[str, Modality]) -> "BatchSchema":
        """Return the schema with modalities as the user declared them, and with the further leaves that were found."""
        found = self.interleaving
        completed = modalities if found is None else {n: found.completed(n, one) for n, one in modalities.items()}
        return replace(self, modalities=completed)

    @cached_property
    def keys(self) -> Mapping[str, tree.Keys]:
        """Path of every leaf -> the keys of its node; several leaves may be in one node."""
        return {path: reader.keys for path, reader in self._reader_of.items()}

    @cached_property
    def _reader_of(self) -> Mapping[str, NodeReader]:
        found = {path: reader for reader in self.readers for path in reader.places}
        return {path: found[path] for path in self.owners}

    @property
    def names(self) -> list[str]:
        """Names of the modalities."""
        return list(self.modalities)

    @property
    def paths(self) -> list[str]:
        """Paths of all leaves, in the batch's own order."""
        order = {keys: place for place, (keys, _) in enumerate(tree.nodes(self.template))}
        return sorted(self.owners, key=lambda path: order[self.keys[path]])

    @property
    def unowned(self) -> list[str]:
        """Paths of the leaves that belong to no modality."""
        owned = {path for paths in self.values.values() for path in paths}
        return [path for path in self.owners if path not in owned]

    @property
    def labels(self) -> list[str]:
        """The target's path, as a list; empty without a target, or if it belongs to a modality (a reconstruction)."""
        return [path for path in self.unowned if path == self.target]

    def code(self, way: tree.Keys) -> str:
        """Return Python code for a node of the batch: ``batch["inputs"][0]``."""
        for reader in self.readers:
            inside = way[len(reader.keys) :]
            if reader.example is not None and inside and way[: len(reader.keys)] == reader.keys:
                number = inside[:1] if self.is_of_one_example(way) else ()
                example = tree.code(reader.example, inside[len(number) :])
                return f"batch{tree.code(self.template, reader.keys)}{''.join(f'[{n}]' for n in number)}{example}"
        return "batch" + tree.code(self.template, way)

    def is_of_one_example(self, keys: tree.Keys) -> bool:
        """Return whether the node at some keys is inside one numbered example of a node with whole examples."""
        return any(
            reader.example is not None
            and keys[: len(reader.keys)] == reader.keys
            and isinstance(next(iter(keys[len(reader.keys) :]), None), int)
            for reader in self.readers
        )

    def place(self, path: str) -> Place:
        """Return the place of a leaf."""
        return self._reader_of[path].places[path]

    @property
    def has_views(self) -> bool:
        """Whether a leaf has the same number of rows for each example, in an order that the user gave."""
        return any(isinstance(reader.holding, StackedViews) for reader in self.readers)

    def padded(self, path: str) -> bool:
        """Return whether the user's own batches pad examples of different shapes in a leaf."""
        return self._reader_of[path].holding.padded

    def written(self, path: str) -> str:
        """Return the path of a leaf as it is given to ``modalities=``: ``image[3]`` for the rest of ``image``."""
        return self._reader_of[path].written(path)

    def index_of(self, path: str) -> Index | None:
        """Return which part of each example's array a leaf is; None for all of it, and if its node is not stacked."""
        reader = self._reader_of[path]
        return reader.places[path].index if isinstance(reader.holding, Stacked) else None

    def listed(self, path: str) -> bool:
        """Return whether a leaf is a list with one entry per example."""
        return isinstance(self._reader_of[path].holding, Listed)

    def divided(self, path: str) -> bool:
        """Return whether a leaf is one of several in its node."""
        return len(self._reader_of[path].places) > 1

    def leaves(self, batch: Any) -> dict[str, Any]:
        """Return path -> leaf for a batch: a tensor, or a list with one entry per example.

        Raises:
            NotMeasurableError: The batch lacks one of them.
        """
        try:
            found = {path: leaf for reader in self.readers for path, leaf in reader.read(batch).items()}
        except (KeyError, IndexError) as error:
            raise NotMeasurableError(
                f"a batch has no leaf {message_of(error)}, but the first one had; leaves of this batch: "
                f"{describe_leaves(batch)}. "
                "Give all batches of the validation loader the same leaves."
            ) from None
        for path, leaf in found.items():
            if leaf is None:
                raise NotMeasurableError(
                    f"a batch holds None at the leaf {path!r}; allowed are leaves of the kind of the first batch's. "
                    "Leave batches without a modality out of the validation loader."
                )
        return {path: found[path] for path in self.owners}

    def leaf(self, batch: Any, path: str, shape: Sequence[int] | None = None) -> Any:
        """Return one leaf of a batch: a tensor, or a list of objects that are not arrays.

        Args:
            batch: A batch.
            path: Path of the leaf.
            shape: The shape of one example to which a list of arrays is padded; by default the largest shape.
        """
        return padded(self._reader_of[path].read(batch)[path], shape)

    def with_leaves(self, batch: Any, leaves: Mapping[str, Any]) -> Any:
        """Return a copy of a batch with some leaves replaced; everything else is shared with the batch.

        Args:
            batch: A batch of R examples.
            leaves: Path -> leaf with R entries, as :meth:`leaves` or :meth:`leaf` returns it.
        """
        before = self.leaves(batch)
        own = {
            path: unpadded(leaf, before[path]) if isinstance(before[path], list) else leaf
            for path, leaf in leaves.items()
        }
        found = {**before, **own}
        readers = [reader for reader in self.readers if reader.places.keys() & leaves.keys()]
        return tree.replace(batch, self._nodes(readers, found))

    def _nodes(self, readers: Iterable[NodeReader], leaves: Mapping[str, Any]) -> dict[tree.Keys, Any]:
        """Return the nodes of some readers, and the nodes that are computed from numbers of rows, by keys."""

        def lengths(path: str) -> list[int]:
            return [len(row) for row in leaves[path]]

        made = {reader.keys: reader.write(leaves, lengths) for reader in readers}
        return made | {one.keys: one.write(leaves[one.packed]) for one in self.derived}

    def tensors(self, batch: Any) -> list[tuple[str, Tensor, Tensor | None]]:
        """Return (path, tensor, entries) for every leaf and every tensor of a batch with the leaf or a part of it.

        The entries are bool, broadcastable to the tensor, True at the leaf's entries; None for all entries.
        """
        return [found for reader in self.readers for found in reader.tensors(batch)]

    def holds(self, path: str, keys: tree.Keys) -> bool:
        """Return whether the node of the batch at some keys contains a leaf or a part of it."""
        place = self._reader_of[path].places[path]
        below = keys[len(place.keys) :]
        return keys[: len(place.keys)] == place.keys and (
            not place.inner or place.inner in (below[: len(place.inner)], below[1 : 1 + len(place.inner)])
        )

    def leaves_of(self, batch: Any, paths: Container[str]) -> dict[str, Any]:
        """Return some leaves of a batch by path."""
        readers = [reader for reader in self.readers if any(path in paths for path in reader.places)]
        found = {path: leaf for reader in readers for path, leaf in reader.read(batch).items()}
        return {path: leaf for path, leaf in found.items() if path in paths}

    def size(self, leaves: Mapping[str, Any]) -> int:
        """Return the number of examples in leaves; leaves of some modalities may be missing."""
        owned = (path for paths in self.values.values() for path in paths if path in leaves)
        return example_count(leaves[next(owned, next(iter(leaves)))]) or 0

    def build(
        self,
        leaves: Mapping[str, Any],
        device: torch.device | str = "cpu",
        bounds: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Return a batch of the user's own structure.

        Args:
            leaves: Path -> leaf with R entries.
            device: Device of its tensors.
            bounds: Path of a leaf that is padded here but not in the user's own batches -> ``(R, D, 2)``: start and
                stop of each row's own entries along each dimension but the first. Leaves without an entry are not
                padded.
        """
        given = {path: to_device(leaf, device) for path, leaf in leaves.items()}
        own = {
            path: leaf if self.padded(path) else unpadded(leaf, None if bounds is None else bounds.get(path))
            for path, leaf in given.items()
        }
        return tree.put_together(tree.replace(moved(self.template, device), self._nodes(self.readers, own)))

    def take(self, leaves: Mapping[str, Any], sources: Tensor, needed: Container[str] | None = None) -> dict[str, Any]:
        """Recombine leaves: take each leaf's examples from the column of its modality.

        Args:
            leaves: Path -> leaf.
            sources: ``(R, M)`` the example from which each modality of each row is taken.
            needed: Paths of the leaves that are needed; all by default. Other stacked tensors are left out.

        Returns:
            Path -> leaf with R examples.
        """
        return {
            path: take_examples(leaves[path], sources[:, owner])
            for path, owner in self.owners.items()
            if needed is None or path in needed or not (isinstance(leaves[path], Tensor) and self.padded(path))
        }
