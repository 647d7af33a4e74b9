"""Mask segments of a modality, such as patches, words, blocks of time, columns or regions."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad


class Maskable(Protocol):
    """The segments of a modality that are masked separately, and the baseline of masked segments."""

    @property
    def leaf(self) -> str:
        """Path of the leaf that is masked."""

    def count(self, example: int) -> int:
        """Return the number of segments of an example; segment k is column k of a mask."""

    def mask(self, values: Any, kept: Tensor, sources: Tensor) -> Any:
        """Return the values with masked segments replaced by the baseline.

        Args:
            values: R rows of the leaf.
            kept: ``(R, S)`` bool, True where a segment stays; segments beyond S stay.
            sources: ``(R,)`` the example that each row was taken from.
        """


def widen_masks(kept: Tensor, segments: int) -> Tensor:
    """Return ``(R, S)`` masks with at least ``segments`` columns; added columns are True (not masked)."""
    return pad(kept, (0, max(0, segments - kept.shape[-1])), value=True)


@dataclass(frozen=True)
class Segments:
    """Segments of a tensor: every entry belongs to one segment or to none.

    Attributes:
        leaf: Path of the leaf that is masked.
        index: ``(N or 1, ...)`` integers, broadcastable to the leaf: the segment of every entry, -1 for entries that
            are never masked. The first dimension is 1 if all examples have the same segments.
        baseline: The value of a masked entry: a number, or ``(N or 1, ...)`` broadcastable to the leaf.
    """

    leaf: str
    index: Tensor
    baseline: Tensor | float = 0.0

    def count(self, example: int) -> int:
        """Return the number of segments of an example."""
        row = self.index[example if len(self.index) > 1 else 0]
        return int(row.max()) + 1 if row.numel() else 0

    def mask(self, values: Tensor, kept: Tensor, sources: Tensor) -> Tensor:
        """Return the values with masked segments replaced by the baseline.

        Args:
            values: ``(R, ...)`` rows of the leaf.
            kept: ``(R, S)`` bool, True where a segment stays; segments beyond S stay.
            sources: ``(R,)`` the example that each row was taken from.

        Returns:
            ``(R, ...)``.
        """
        index = self.index[sources] if len(self.index) > 1 else self.index.expand(len(values), *self.index.shape[1:])
        wide = widen_masks(kept, 1 + int(index.max()) if (index >= 0).any() else 1)
        stays = wide.gather(1, index.long().clamp(min=0).reshape(len(index), -1)).view(index.shape) | (index < 0)
        baseline = torch.as_tensor(self.baseline, dtype=values.dtype, device=values.device)
        if baseline.dim() and len(baseline) > 1:
            baseline = baseline[sources.to(values.device)]
        return torch.where(stays.to(values.device), values, baseline)


@dataclass(frozen=True)
class WordSegments:
    """Segments of a list of strings: runs of words; masked words are removed.

    Attributes:
        leaf: Path of the list.
        words: The segments of every example, each a part of the text.
    """

    leaf: str
    words: Sequence[Sequence[str]]

    def count(self, example: int) -> int:
        """Return the number of segments of an example."""
        return len(self.words[example])

    def mask(self, values: Sequence[str], kept: Tensor, sources: Tensor) -> Sequence[str]:
        """Return the texts without their masked segments; a text without masked segments is unchanged.

        Args:
            values: R texts.
            kept: ``(R, S)`` bool, True where a segment stays; segments beyond S stay.
            sources: ``(R,)`` the example that each text was taken from.
        """
        texts = (
            _shortened(text, self.words[i], row) for text, i, row in zip(values, sources.tolist(), kept, strict=True)
        )
        return type(values)(texts)  # type: ignore[call-arg]


@dataclass(frozen=True)
class JointSegments:
    """Segments of several leaves with common numbers: segment k is masked in every leaf that has entries of it.

    Columns of two tables are different segments; the same time step of two series is one segment.

    Attributes:
        parts: The segments of each leaf, with the common numbers.
    """

    parts: Sequence[Segments]

    def count(self, example: int) -> int:
        """Return the number of segments of an example."""
        return max(part.count(example) for part in self.parts)


Segmentation: TypeAlias = Maskable | JointSegments
"""The segments of a modality: of one leaf, or of several."""


def joined(parts: Sequence[Segments]) -> Segments | JointSegments:
    """Return the segments of one leaf unchanged, and the segments of several leaves as one segmentation."""
    return parts[0] if len(parts) == 1 else JointSegments(parts)


def parts_of(segments: Segmentation) -> Sequence[Maskable]:
    """Return the segments of each leaf."""
    return segments.parts if isinstance(segments, JointSegments) else [segments]


def masked_leaves(
    leaves: Mapping[str, Any],
    segments: Mapping[str, Segmentation],
    masks: Mapping[str, Tensor],
    columns: Mapping[str, Tensor],
    needed: Container[str] | None = None,
) -> dict[str, Any]:
    """Return the leaves of rows in which segments are masked, by path.

    Args:
        leaves: Path -> R rows of a leaf.
        segments: Modality -> its segments.
        masks: Modality -> ``(R, S)`` bool, True where a segment stays.
        columns: Modality -> ``(R,)`` the example from which it is taken.
        needed: Paths of the leaves to mask; all by default.
    """
    found: dict[str, Any] = {}
    for name, kept in masks.items():
        for part in parts_of(segments[name]):
            if needed is None or part.leaf in needed:
                found[part.leaf] = part.mask(found.get(part.leaf, leaves[part.leaf]), kept, columns[name])
    return found


def _shortened(text: str, words: Sequence[str], kept: Tensor) -> str:
    stays = widen_masks(kept, len(words))[: len(words)].tolist()
    return text if all(stays) else " ".join(word for word, stay in zip(words, stays, strict=True) if stay)
