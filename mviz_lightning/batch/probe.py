"""The probe: the fixed validation examples on which the model is evaluated during the whole training."""

import hashlib
import math
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mviz_lightning.batch.masking import Maskable
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.batch.rows import describe_leaf, is_ragged, join_leaves, kept_copy, leaf_bytes
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.batch.strata import distribute, stratum_order, systematic_sample
from mviz_lightning.errors import ConfigurationError, MonitorWarning, renamed_attributes


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
    """

    schema: BatchSchema
    leaves: Mapping[str, Any]
    groups: Tensor
    segments: Mapping[str, Maskable] = field(default_factory=dict)
    label_names: Sequence[str] = ()
    labels: Tensor | None = None

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
        labels = None if self.labels is None else self.labels[examples]
        return replace(self, leaves=leaves, labels=labels, segments={}, groups=torch.empty(0, 0, dtype=torch.long))

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
        for name, kept in masks.items():
            segments = self.segments[name]
            if needed is not None and segments.leaf not in needed:
                continue
            column = sources[:, self.schema.names.index(name)]
            leaves[segments.leaf] = segments.mask(leaves[segments.leaf], kept, column)
        return self.schema.build(leaves, device)


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


def collate(schema: BatchSchema, rows: Sequence[Example]) -> dict[str, Any]:
    """Join examples to leaves.

    Examples of different shapes are padded to the largest one, once, so that they are the same in every chunk. The
    padding is in front of the values if the modality's masks show that the user's own batches are padded in front, else
    behind them.

    Args:
        schema: The batch's schema.
        rows: The examples.
    """
    return {path: _collate_leaf(schema, path, rows) for path in schema.owners}


def _collate_leaf(schema: BatchSchema, path: str, rows: Sequence[Example]) -> Any:
    column = [row[path] for row in rows]
    if not is_ragged(column):
        return join_leaves(column)
    modality = schema.modalities[schema.names[schema.owners[path]]] if path not in schema.unowned else None
    return join_leaves(column, _pad_value(path, modality, rows), in_front=_padded_in_front(modality, rows))


def _padded_in_front(modality: Modality | None, rows: Sequence[Example]) -> bool:
    """Tell whether the user's own batches are padded in front, as is usual for decoders that read the last position."""
    if modality is None or modality.mask is None:
        return False
    masks = [mask.flatten() for row in rows if isinstance(mask := row[modality.mask], Tensor)]
    padded = [mask for mask in masks if len(mask) and bool((mask == 0).any()) and bool((mask != 0).any())]
    return bool(padded) and all(bool(mask[0] == 0) and bool(mask[-1] != 0) for mask in padded)


def _pad_value(path: str, modality: Modality | None, rows: Sequence[Example]) -> float:
    """Return the value with which the user's own batches are padded: the most frequent one where the mask is 0."""
    if modality is None or path == modality.mask:
        return 0
    if modality.pad_value is not None and path == modality.values:
        return modality.pad_value
    if modality.mask is None:
        warnings.warn(
            f"the leaf {path!r} has examples of different shapes; they are padded with 0 at the end. "
            f"If 0 has a meaning for your model, pass Modality({modality.values!r}, mask=..., pad_value=...).",
            MonitorWarning,
            stacklevel=2,
        )
        return 0
    padding = [
        row[path][row[modality.mask] == 0].flatten()
        for row in rows
        if row[path].shape[: row[modality.mask].dim()] == row[modality.mask].shape
    ]
    seen = torch.cat(padding) if padding else torch.zeros(0)
    return float(seen.mode().values) if len(seen) else 0


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
    """Return a probe of copies of a batch's first examples, without groups.

    Args:
        schema: The batch's schema.
        batch: The user's own batch.
        count: Largest number of examples.
    """
    leaves = schema.leaves(batch)
    rows = torch.arange(min(count, schema.size(leaves)))
    some = {path: kept_copy(leaf, rows) for path, leaf in leaves.items()}
    return Probe(schema, some, torch.empty(0, 0, dtype=torch.long))


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
