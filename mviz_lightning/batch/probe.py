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

from mviz_lightning.batch.holdings import unpadded
from mviz_lightning.batch.interleaved.splicing import Splicer, TokenPlaces
from mviz_lightning.batch.interleaved.words import maskable_words
from mviz_lightning.batch.masking import Segmentation, masked_leaves
from mviz_lightning.batch.padding import within_bounds_of
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.batch.rows import describe_leaf, kept_copy, leaf_bytes
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.deprecations import renamed_attributes

NO_GROUPS = torch.empty(0, 0, dtype=torch.long)
"""Empty groups, for probes whose examples are not recombined."""


@renamed_attributes(units="segments", layout="schema")
@dataclass(frozen=True)
class Probe:
    """Fixed examples and the groups in which they are recombined.

    Attributes:
        schema: The batch's schema.
        leaves: Path -> leaf with N examples, on the CPU: an ``(N, ...)`` tensor or a list of N entries.
        groups: ``(G, g)`` long: G groups of g examples; examples are recombined within their group.
        segments: Modality -> the segments that may be masked.
        label_names: All labels of the validation set in sorted order, if they are strings.
        labels: ``(N, ...)`` labels in standard form, or computed from the batch, for example ``batch["y"] - 1``; None
            if the target's leaf is used unchanged.
        bounds: Path of a leaf that was padded because its examples have different shapes -> ``(N, D, 2)`` long: start
            and stop of each example's own entries along each dimension but the first. These include padding of the
            user's own batch. Lists of arrays and packed rows have no such padding.
        own_shapes: Whether batches of rows are cut to these bounds, so that examples are never padded more than in the
            user's own batch. All rows of a batch must then have the same shapes.
        by_position: Labels of every position, if outputs have positions; ``labels`` then has one label per example.
        prompt_ends: ``(N,)`` long: number of tokens of each prompt, for texts with answers; None for other texts.
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
    prompt_ends: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of examples, N; examples without a group belong only to the reference set."""
        return self.schema.size(self.leaves)

    @property
    def target(self) -> Tensor | None:
        """``(N, ...)`` labels; None without a target, or if the target has neither numbers nor strings."""
        if self.labels is not None or self.schema.target is None:
            return self.labels
        return as_labels(self.leaves[self.schema.target], self.label_names)

    def part(self, examples: Tensor) -> "Probe":
        """Return a probe of some examples ``(R,)``, without groups."""
        leaves = {path: kept_copy(leaf, examples) for path, leaf in self.leaves.items()}
        bounds = {path: found[examples] for path, found in self.bounds.items()}
        labels, ends = (None if one is None else one[examples] for one in (self.labels, self.prompt_ends))
        by_position = None if self.by_position is None else self.by_position.part(examples)
        rest = replace(self, labels=labels, by_position=by_position, segments={}, groups=NO_GROUPS)
        return replace(rest, leaves=leaves, bounds=bounds, prompt_ends=ends)

    def batch(
        self,
        sources: Tensor,
        masks: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        needed: Container[str] | None = None,
    ) -> Any:
        """Return a batch of recombined and masked rows, in the user's own structure.

        Args:
            sources: ``(R, M)`` the example from which each modality of each row is taken.
            masks: Modality -> ``(R, S)`` bool, True where a segment stays.
            device: Device of the batch's tensors.
            needed: Paths of the leaves whose values are used; all by default. Other tensors repeat their first example
                without memory.
        """
        leaves = self.schema.take(self.leaves, sources, needed)
        for path in self.schema.owners.keys() - leaves.keys():
            first = self.leaves[path][:1].to(device)
            leaves[path] = first.expand(len(sources), *first.shape[1:])
        remaining = {path: found for path, found in self.bounds.items() if not self.schema.padded(path)}
        bounds = {path: found[sources[:, self.schema.owners[path]]] for path, found in remaining.items()}
        columns = dict(zip(self.schema.names, sources.unbind(1), strict=True))
        leaves |= masked_leaves(leaves, self.segments, masks, columns, needed)
        if self.splicer is not None:
            places, spliced = self.tokens(sources, masks)
            own = torch.stack([torch.zeros_like(places.lengths), places.lengths], -1).unsqueeze(1)
            leaves, bounds = leaves | spliced, bounds | dict.fromkeys(spliced, own)
        for path in self.padded if self.own_shapes else ():
            column = sources[:, self.schema.owners[path]]
            # Leaves whose values are not used may come from rows of several shapes.
            leaves[path] = self.cut(path, leaves[path], column if needed is None or path in needed else column[:1])
        return self.schema.build(leaves, device, bounds)

    def tokens(self, sources: Tensor, masks: Mapping[str, Tensor]) -> tuple[TokenPlaces, dict[str, Tensor]]:
        """Return the sources of the tokens of rebuilt rows, and each per-token leaf ``(R, T)``, masked.

        Raises:
            ValueError: The texts have no placeholders.
        """
        if self.splicer is None:
            raise ValueError("only texts with placeholders are rebuilt")
        found, places = self.splicer.interleaving, self.splicer.places(sources)
        column = sources[:, self.schema.names.index(found.text)]
        own = {path: self.leaves[path][column] for path in found.tokenwise}
        kept = {name: kept for name, kept in masks.items() if name == found.text}
        masked = masked_leaves(own, self.segments, kept, {found.text: column})
        return places, {path: places.spliced(self.leaves[path], masked.get(path)) for path in found.tokenwise}

    @cached_property
    def splicer(self) -> Splicer | None:
        """Rebuilds texts with placeholders of other modalities; None if there are no such texts."""
        interleaving = self.schema.interleaving
        if interleaving is None:
            return None
        texts = unpadded(self.leaves[interleaving.ids], self.bounds.get(interleaving.ids))
        return Splicer(interleaving, self.schema.names, texts)

    def maskable(self, name: str) -> Tensor | None:
        """Return ``(N, T)`` bool, True at maskable tokens of a text with placeholders; None for other modalities."""
        if self.splicer is None or name != self.splicer.interleaving.text:
            return None
        found = self.splicer.interleaving
        return maskable_words(found, self.splicer.texts, self.prompt_ends, self.leaves[found.ids].shape[1])

    @cached_property
    def kinds(self) -> Tensor:
        """``(N,)`` long: examples with equal numbers can be recombined; their texts have as many blocks of items."""
        counts = [()] * self.size if self.splicer is None else self.splicer.counts
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(counts))}
        return torch.tensor([numbers[kind] for kind in counts], dtype=torch.long)

    @cached_property
    def padded(self) -> Mapping[str, Tensor]:
        """The bounds of the leaves that are padded in the model's batches."""
        return {path: found for path, found in self.bounds.items() if self.schema.padded(path)}

    @cached_property
    def shape_numbers(self) -> Tensor:
        """``(N, M)`` long: examples with equal numbers have leaves of the same shapes in this modality."""
        columns = [torch.zeros(self.size, 1, dtype=torch.long) for _ in self.schema.names]
        for path, bounds in self.padded.items():
            owner = self.schema.owners[path]
            columns[owner] = torch.cat([columns[owner], bounds.flatten(1)], 1)
        return torch.stack([torch.unique(column, dim=0, return_inverse=True)[1] for column in columns], 1)

    def shapes_of(self, sources: Tensor) -> Tensor:
        """Return ``(R, M)`` long: the shape number of each modality of each row; 0 if all are padded."""
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
        """Return rows that :meth:`cut` shortened in the shape of the padded leaf, with 0 at the padding."""
        if path not in self.padded or not self.own_shapes:
            return rows
        whole = rows.new_zeros(len(rows), *self.leaves[path].shape[1:])
        kept = [slice(*bound) for bound in self.bounds[path][sources[0]].tolist()]
        index = (slice(None), *kept)
        whole[index] = rows
        return whole

    def has_leaves_of(self, other: "Probe") -> bool:
        """Return whether another probe has the same leaves, each the same object or an equal tensor."""
        if self.leaves is other.leaves:
            return True
        pairs = [(leaf, other.leaves.get(path)) for path, leaf in self.leaves.items()]
        return self.leaves.keys() == other.leaves.keys() and all(one is two or _equal(one, two) for one, two in pairs)

    def own_entries(self, path: str) -> Tensor | None:
        """Return ``(N, ...)`` bool, False where a leaf was padded to one shape; None if it was not padded."""
        return within_bounds_of(self.bounds[path], self.leaves[path].shape[1:]) if path in self.bounds else None

    def real_entries(self, name: str) -> Tensor | None:
        """Return ``(N, ...)`` bool, True at the real entries of a modality, False at padding.

        Padding is read from the modality's mask. Without a mask, padding of the user's own batches is unknown and
        counts as real. None if nothing is known to be padded.
        """
        real = self.schema.modalities[name].real_entries(self.leaves)
        return self.own_entries(self.schema.values[name][0]) if real is None else real


def _equal(one: Any, two: Any) -> bool:
    return isinstance(one, Tensor) and isinstance(two, Tensor) and torch.equal(one, two)


def as_labels(leaf: Any, names: Sequence[str] = ()) -> Tensor | None:
    """Return labels as a tensor; None if they are neither numbers nor strings.

    Args:
        leaf: The target's leaf.
        names: All strings that occur, in the order of their classes; by default the leaf's own strings, sorted.
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


def fingerprint(leaves: Mapping[str, Any]) -> str:
    """Return a digest of examples; equal digests show that a probe that is drawn again is the same."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(leaves):
        digest.update(path.encode())
        for part in leaf_bytes(leaves[path]):
            digest.update(part)
    return digest.hexdigest()


def known_target(probe: Probe) -> Tensor | None:
    """Return ``(N, ...)`` labels; None without a target.

    Raises:
        ConfigurationError: The target has neither numbers nor strings.
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
    """Return the bytes of leaves; infinite if a leaf is not of a plain type."""
    if not all(_is_plain(leaf) for leaf in leaves.values()):
        return math.inf
    return sum(leaf.nbytes if isinstance(leaf, Tensor) else sum(map(_bytes_of, leaf)) for leaf in leaves.values())


def _bytes_of(value: str | float) -> int:
    return len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 8


def _is_plain(leaf: Any) -> bool:
    # Exactly these types: loading a checkpoint fails for subclasses, including NumPy's scalars.
    return type(leaf) is Tensor or (isinstance(leaf, list) and all(type(x) in (str, int, float) for x in leaf))
