"""The probe: the fixed validation examples on which the model is evaluated during the whole training."""

import hashlib
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mviz_lightning.batch.masking import Segmentation, parts_of
from mviz_lightning.batch.padding import collate, own_bounds, with_masks_read, within_bounds_of
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.batch.presence import complete_examples
from mviz_lightning.batch.rows import describe_leaf, kept_copy, leaf_bytes
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.batch.strata import distribute, stratum_order, systematic_sample
from mviz_lightning.errors import ConfigurationError, renamed_attributes

NO_GROUPS = torch.empty(0, 0, dtype=torch.long)
"""The groups of examples that are not recombined."""


@renamed_attributes(units="segments", layout="schema")
@dataclass(frozen=True)
class Probe:
    """Fixed examples and the groups in which they are recombined.

    Attributes:
        schema: The batch's schema.
        leaves: Path -> leaf with N examples, on the CPU: an ``(N, ...)`` tensor or a list of N entries.
        groups: ``(G, g)`` long: G groups of g examples; examples are recombined within their group.
        segments: Modality -> the segments that queries may mask.
        label_names: All labels of the validation set in sorted order, where they are strings.
        labels: ``(N, ...)`` labels where they are no leaf of the batch as it is, ``batch["y"] - 1`` for example, or as
            they are read; None before that, then the target's leaf counts.
        bounds: Path of a leaf that was padded, since its examples have different shapes -> ``(N, D, 2)`` long: where
            each example's own entries start and stop along each dimension but the first. They hold the padding of the
            user's own batch, if it has any: lists of arrays and packed rows have none, and get none.
        own_shapes: Whether batches of rows are cut to these bounds, so that the model never sees an example padded
            further than the user's own batch padded it. All rows of a batch must then have the same shapes.
        by_position: Labels of every position, where outputs have positions; ``labels`` then holds one of each example.
    """

    schema: BatchSchema
    leaves: Mapping[str, Any]
    groups: Tensor
    segments: Mapping[str, Segmentation] = field(default_factory=dict)
    label_names: Sequence[str] = ()
    labels: Tensor | None = None
    bounds: Mapping[str, Tensor] = field(default_factory=dict)
    own_shapes: bool = False
    by_position: PositionLabels | None = None

    @property
    def size(self) -> int:
        """Number of examples, N; those in no group belong to the reference set only."""
        return self.schema.size(self.leaves)

    @property
    def target(self) -> Tensor | None:
        """``(N, ...)`` labels; None without a target, or if the target holds neither numbers nor strings."""
        if self.labels is not None or self.schema.target is None:
            return self.labels
        return as_labels(self.leaves[self.schema.target], self.label_names)

    def part(self, examples: Tensor) -> "Probe":
        """Return a probe of some examples ``(R,)``, without groups."""
        leaves = {path: kept_copy(leaf, examples) for path, leaf in self.leaves.items()}
        bounds = {path: found[examples] for path, found in self.bounds.items()}
        labels = None if self.labels is None else self.labels[examples]
        by_position = None if self.by_position is None else self.by_position.part(examples)
        rest = replace(self, labels=labels, by_position=by_position, segments={}, groups=NO_GROUPS)
        return replace(rest, leaves=leaves, bounds=bounds)

    def batch(
        self,
        sources: Tensor,
        masks: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        needed: Container[str] | None = None,
    ) -> Any:
        """Return a batch of recombined and masked rows, in the user's own structure.

        Args:
            sources: ``(R, M)`` the example that each modality of each row is taken from.
            masks: Modality -> ``(R, S)`` bool, True where a segment stays.
            device: Device of the batch's tensors.
            needed: Paths of the leaves whose values matter; all by default. Other tensors repeat their first example,
                which takes no memory.
        """
        leaves = self.schema.take(self.leaves, sources, needed)
        for path in self.schema.owners.keys() - leaves.keys():
            first = self.leaves[path][:1].to(device)
            leaves[path] = first.expand(len(sources), *first.shape[1:])
        bounds = {
            path: found[sources[:, self.schema.owners[path]]]
            for path, found in self.bounds.items()
            if not self.schema.padded(path)
        }
        for name, kept in masks.items():
            column = sources[:, self.schema.names.index(name)]
            for part in parts_of(self.segments[name]):
                if needed is None or part.leaf in needed:
                    leaves[part.leaf] = part.mask(leaves[part.leaf], kept, column)
        for path in self.padded if self.own_shapes else ():
            column = sources[:, self.schema.owners[path]]
            # Leaves whose values do not matter may come from rows of several shapes.
            leaves[path] = self.cut(path, leaves[path], column if needed is None or path in needed else column[:1])
        return self.schema.build(leaves, device, bounds)

    @cached_property
    def padded(self) -> Mapping[str, Tensor]:
        """The bounds of the leaves that a model sees padded."""
        return {path: found for path, found in self.bounds.items() if self.schema.padded(path)}

    @cached_property
    def shape_numbers(self) -> Tensor:
        """``(N, M)`` long: examples with the same number have leaves of the same shapes in this modality."""
        columns = [torch.zeros(self.size, 1, dtype=torch.long) for _ in self.schema.names]
        for path, bounds in self.padded.items():
            owner = self.schema.owners[path]
            columns[owner] = torch.cat([columns[owner], bounds.flatten(1)], 1)
        return torch.stack([torch.unique(column, dim=0, return_inverse=True)[1] for column in columns], 1)

    def shapes_of(self, sources: Tensor) -> Tensor:
        """Return ``(R, M)`` long: the number of the shape of each modality of each row; 0 where all are padded."""
        return self.shape_numbers.gather(0, sources) if self.own_shapes else torch.zeros_like(sources)

    def cut(self, path: str, rows: Any, sources: Tensor) -> Any:
        """Return rows of a leaf without the padding that made all examples equal in shape.

        Args:
            path: Path of the leaf.
            rows: ``(R, ...)`` in the shape of the padded leaf; dimensions of size 1 stay.
            sources: ``(R,)`` or ``(1,)`` the example of each row; all have the same shape.

        Raises:
            ValueError: They differ in shape.
        """
        if path not in self.padded or not self.own_shapes:
            return rows
        bounds = self.bounds[path][sources]
        if bool((bounds != bounds[:1]).any()):
            raise ValueError(f"rows of one batch differ in the shape of {path!r}.")
        whole = self.leaves[path].shape[1:]
        kept = [
            slice(*bound) if size == full else slice(None)
            for bound, size, full in zip(bounds[0].tolist(), rows.shape[1:], whole, strict=True)
        ]
        index = (slice(None), *kept)
        cut = rows[index]
        return cut.contiguous() if isinstance(cut, Tensor) else cut.copy()

    def restore(self, path: str, rows: Tensor, sources: Tensor) -> Tensor:
        """Return rows that :meth:`cut` made shorter in the shape of the padded leaf again, with 0 at the padding."""
        if path not in self.padded or not self.own_shapes:
            return rows
        whole = rows.new_zeros(len(rows), *self.leaves[path].shape[1:])
        kept = [slice(*bound) for bound in self.bounds[path][sources[0]].tolist()]
        index = (slice(None), *kept)
        whole[index] = rows
        return whole

    def has_leaves_of(self, other: "Probe") -> bool:
        """Tell whether another probe has the same leaves, each the same object or an equal tensor."""
        if self.leaves is other.leaves:
            return True
        pairs = [(leaf, other.leaves.get(path)) for path, leaf in self.leaves.items()]
        return self.leaves.keys() == other.leaves.keys() and all(one is two or _equal(one, two) for one, two in pairs)

    def own_entries(self, path: str) -> Tensor | None:
        """Return ``(N, ...)`` bool, False where a leaf was padded to make all examples equal; None where none was."""
        return within_bounds_of(self.bounds[path], self.leaves[path].shape[1:]) if path in self.bounds else None

    def real_entries(self, name: str) -> Tensor | None:
        """Return ``(N, ...)`` bool, True at the real entries of a modality, False at padding.

        The modality's mask tells; without one, the padding of the user's own batches is not known and counts as real.
        None where nothing is known to be padded.
        """
        real = self.schema.modalities[name].real_entries(self.leaves)
        return self.own_entries(self.schema.values[name][0]) if real is None else real


def _equal(one: Any, two: Any) -> bool:
    return isinstance(one, Tensor) and isinstance(two, Tensor) and torch.equal(one, two)


def as_labels(leaf: Any, names: Sequence[str] = ()) -> Tensor | None:
    """Return labels as a tensor; None if they are neither numbers nor strings.

    Args:
        leaf: The target's leaf.
        names: All strings that occur, in the order of their classes; by default the leaf's own, sorted.
    """
    if isinstance(leaf, Tensor):
        return leaf
    found = strings_of(leaf)
    if found is not None:
        order = {name: index for index, name in enumerate(names or sorted(set(found)))}
        return torch.tensor([order[name] for name in found]) if order.keys() >= set(found) else None
    try:
        return torch.as_tensor(leaf)
    except (TypeError, ValueError, RuntimeError):
        return None


def strings_of(leaf: Any) -> list[str] | None:
    """Return the entries of a leaf of strings; None for any other leaf."""
    entries = leaf.tolist() if isinstance(leaf, np.ndarray) else leaf
    strings = isinstance(entries, list | tuple) and len(entries) > 0 and all(isinstance(one, str) for one in entries)
    return list(entries) if strings else None


def draw_groups(target: Tensor | None, count: int, examples: int, size: int, seed: int) -> Tensor:
    """Draw the examples that are recombined, in proportion to their labels, and distribute them over groups.

    Args:
        target: ``(count, ...)`` labels of the pool, if known.
        count: Number of examples in the pool.
        examples: Largest number of examples to draw.
        size: Number of examples in a group.
        seed: Seed of the draw.

    Returns:
        ``(G, size)`` indices into the pool.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = min(examples, count) // size
    order = stratum_order(target, count, generator)
    return distribute(systematic_sample(order, groups * size, generator), groups, generator)


def fingerprint(leaves: Mapping[str, Any]) -> str:
    """Return a digest of examples; it shows whether a probe that is drawn again is the same."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(leaves):
        digest.update(path.encode())
        for part in leaf_bytes(leaves[path]):
            digest.update(part)
    return digest.hexdigest()


def first_examples(schema: BatchSchema, batch: Any, count: int) -> Probe:
    """Return a probe of copies of a batch's first examples that have all modalities, without groups.

    Args:
        schema: The batch's schema.
        batch: The user's own batch.
        count: Largest number of examples.
    """
    leaves = schema.leaves(batch)
    rows = complete_examples(schema, leaves)[:count].tolist()
    examples = [{path: kept_copy(leaf, torch.tensor([row])) for path, leaf in leaves.items()} for row in rows]
    probe = Probe(schema, collate(schema, examples), NO_GROUPS, bounds=own_bounds(schema, examples))
    return with_masks_told(probe)


def with_masks_told(probe: Probe) -> Probe:
    """Return the probe with each mask read as its examples show: :func:`with_masks_read`."""
    tensors = {path: leaf for path, leaf in probe.leaves.items() if isinstance(leaf, Tensor)}
    rows = [{path: leaf[k : k + 1] for path, leaf in tensors.items()} for k in range(probe.size)]
    return replace(probe, schema=with_masks_read(probe.schema, rows))


def known_target(probe: Probe) -> Tensor | None:
    """Return ``(N, ...)`` labels; None without a target.

    Raises:
        ConfigurationError: The target holds no numbers.
    """
    target = probe.target
    if target is None and probe.schema.target is not None:
        leaf = describe_leaf(probe.leaves[probe.schema.target])
        raise ConfigurationError(
            f"target={probe.schema.target!r} is a {leaf} that holds no numbers; give the path of class indices, 0/1 "
            "labels, values, or strings that name classes."
        )
    return target


def plain_bytes(leaves: Mapping[str, Any]) -> float:
    """Return the bytes of the tensors among leaves; infinite if a leaf is not of a plain type."""
    if not all(_is_plain(leaf) for leaf in leaves.values()):
        return math.inf
    return sum(leaf.nbytes for leaf in leaves.values() if isinstance(leaf, Tensor))


def _is_plain(leaf: Any) -> bool:
    # Exactly these types: loading a checkpoint refuses their subclasses, NumPy's scalars among them.
    return type(leaf) is Tensor or (isinstance(leaf, list) and all(type(x) in (str, int, float) for x in leaf))
