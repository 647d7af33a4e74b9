"""The fixed validation examples on which the model is asked, all through the training."""

import hashlib
import math
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch.masking import Maskable
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.batch.strata import deal, stratum_order, systematic_sample
from mviz_lightning.errors import ConfigurationError, MonitorWarning, renamed_attributes


@renamed_attributes(units="segments")
@dataclass(frozen=True)
class Probe:
    """Fixed examples and the groups they are recombined in.

    Attributes:
        layout: Where everything lives in a batch.
        leaves: The examples, by path: ``(N, ...)`` tensors or lists of N entries, on the CPU.
        groups: ``(G, g)`` examples that are recombined with one another.
        segments: Modality -> the parts of it that queries may mask.
    """

    layout: BatchSchema
    leaves: Mapping[str, Any]
    groups: Tensor
    segments: Mapping[str, Maskable] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many examples there are, N; those beyond the groups are the rest of the reference set."""
        return self.layout.size(self.leaves)

    @property
    def target(self) -> Tensor | None:
        """``(N, ...)`` labels, if a target is known."""
        return None if self.layout.target is None else labels(self.leaves[self.layout.target])

    def batch(
        self,
        sources: Tensor,
        masks: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        needed: Container[str] | None = None,
    ) -> Any:
        """Return a batch, in the user's own structure, of recombined and masked rows.

        Args:
            sources: ``(R, M)`` the example of every modality.
            masks: Modality -> ``(R, U)`` True where a unit stays.
            device: Where its tensors are wanted.
            needed: Leaves whose values matter; all by default. Others repeat their first example, without memory.
        """
        leaves = self.layout.take(self.leaves, sources, needed)
        for path in self.layout.owners.keys() - leaves.keys():
            first = self.leaves[path][:1].to(device)
            leaves[path] = first.expand(len(sources), *first.shape[1:])
        for name, kept in masks.items():
            segments = self.segments[name]
            if needed is not None and segments.leaf not in needed:
                continue
            column = sources[:, self.layout.names.index(name)]
            leaves[segments.leaf] = segments.mask(leaves[segments.leaf], kept, column)
        return self.layout.build(leaves, device)


def labels(leaf: Any) -> Tensor | None:
    """Return labels as a tensor; None where they are no numbers."""
    if isinstance(leaf, Tensor):
        return leaf
    try:
        return torch.as_tensor(leaf)
    except (TypeError, ValueError, RuntimeError):
        return None


def collate(layout: BatchSchema, rows: Sequence[Example]) -> dict[str, Any]:
    """Join rows to leaves; ragged ones are padded once to the extent of the largest, so that no chunk changes them.

    They are padded where the masks show that the user's own batches are, at the end or in front.
    """
    return {path: _collate_leaf(layout, path, rows) for path in layout.owners}


def _collate_leaf(layout: BatchSchema, path: str, rows: Sequence[Example]) -> Any:
    column = [row[path] for row in rows]
    if not leaf_kinds.ragged(column):
        return leaf_kinds.join(column)
    modality = layout.modalities[layout.names[layout.owners[path]]] if path not in layout.unowned else None
    return leaf_kinds.join(column, _pad_value(path, modality, rows), in_front=_padded_in_front(modality, rows))


def _padded_in_front(modality: Modality | None, rows: Sequence[Example]) -> bool:
    """Tell whether the user's own batches are padded in front, as decoders that read the last position want it."""
    if modality is None or modality.mask is None:
        return False
    masks = [mask.flatten() for row in rows if isinstance(mask := row[modality.mask], Tensor)]
    padded = [mask for mask in masks if len(mask) and bool((mask == 0).any()) and bool((mask != 0).any())]
    return bool(padded) and all(bool(mask[0] == 0) and bool(mask[-1] != 0) for mask in padded)


def _pad_value(path: str, modality: Modality | None, rows: Sequence[Example]) -> float:
    """Find what the user's own batches are padded with: what stands where the mask is 0."""
    if modality is None or path == modality.mask:
        return 0
    if modality.pad_value is not None and path == modality.values:
        return modality.pad_value
    if modality.mask is None:
        warnings.warn(
            f"the leaf {path!r} has examples of different shapes; they are padded with 0 at the end. "
            "If 0 means something to your model, say Modality(values=..., mask=..., pad_value=...).",
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
    """Draw the examples that are recombined, in proportion to their labels, and deal them out.

    Args:
        target: ``(count, ...)`` labels of the pool, if known.
        count: Examples in the pool.
        examples: How many are wanted at the most.
        size: Of a group.
        seed: Of the draw.

    Returns:
        ``(G, size)`` indices into the pool.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = min(examples, count) // size
    order = stratum_order(target, count, generator)
    return deal(systematic_sample(order, groups * size, generator), groups, generator)


def fingerprint(leaves: Mapping[str, Any]) -> str:
    """Return a digest of examples, by which a redrawn probe is known to be the same."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(leaves):
        digest.update(path.encode())
        for part in leaf_kinds.content(leaves[path]):
            digest.update(part)
    return digest.hexdigest()


def sample(layout: BatchSchema, batch: Any, count: int) -> Probe:
    """Return copies of a batch's first examples, without groups."""
    leaves = layout.leaves(batch)
    rows = torch.arange(min(count, layout.size(leaves)))
    some = {path: leaf_kinds.keep(leaf, rows) for path, leaf in leaves.items()}
    return Probe(layout, some, torch.empty(0, 0, dtype=torch.long))


def known_target(probe: Probe) -> Tensor | None:
    """Return ``(N, ...)`` labels; None where no target was named.

    Raises:
        ConfigurationError: A target was named that holds no numbers.
    """
    target = probe.target
    if target is None and probe.layout.target is not None:
        leaf = leaf_kinds.describe(probe.leaves[probe.layout.target])
        raise ConfigurationError(
            f"target={probe.layout.target!r} is a {leaf} that holds no numbers; give the path of class indices, 0/1 "
            "labels or values."
        )
    return target


def plain_bytes(leaves: Mapping[str, Any]) -> float:
    """Return the size of tensors among leaves; infinite where leaves are not of plain types."""
    if not all(_is_plain(leaf) for leaf in leaves.values()):
        return math.inf
    return sum(leaf.nbytes for leaf in leaves.values() if isinstance(leaf, Tensor))


def _is_plain(leaf: Any) -> bool:
    # Exactly these: loading a checkpoint refuses subclasses of tensors, and NumPy's scalars are floats and strings too.
    return type(leaf) is Tensor or (isinstance(leaf, list) and all(type(x) in (str, int, float) for x in leaf))
