"""Leaves with one entry per token: read without padding, and padded again on the side of the user's batches."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import as_before, as_tensor
from mviz_lightning.batch.holdings import Lengths
from mviz_lightning.errors import NotMeasurableError

IGNORED = -100
"""Label of tokens that do not count in the loss: the default ``ignore_index`` of PyTorch's losses."""


@dataclass(frozen=True)
class OwnTokens:
    """Determines which tokens of a row are its own, and which are padding.

    Attributes:
        ids: Keys of the ids ``(B, T)``.
        mask: Keys of the mask ``(B, T)``; None if nothing is padded.
        hiding: Value of the mask at padding: 0, or 1 for a ``padding_mask``.
    """

    ids: tree.Keys
    mask: tree.Keys | None = None
    hiding: int = 0

    def of(self, batch: Any) -> Tensor:
        """Return ``(B, T)`` bool, True at own tokens."""
        ids = as_tensor(tree.get(batch, self.ids))
        if self.mask is None:
            return torch.ones(ids.shape, dtype=torch.bool)
        mask: Tensor = as_tensor(tree.get(batch, self.mask)).detach().cpu()
        return (mask == 0) if self.hiding else (mask != 0)

    def with_masked(self, batch: Any) -> Tensor:
        """Return ``(B, T)`` bool like :meth:`of`, also True at masked words; first and last token are never masked."""
        own = self.of(batch).long()
        return (own.cummax(1).values & own.flip(1).cummax(1).values.flip(1)).bool()

    def limits(self, batch: Any) -> list[tuple[int, int]]:
        """Return start and stop of each row's own tokens; words between them may be masked."""
        own = self.with_masked(batch)
        starts, counts = own.long().argmax(1).tolist(), own.sum(1).tolist()
        return [(start, start + count) for start, count in zip(starts, counts, strict=True)]

    def spans(self, batch: Any) -> list[tuple[int, int]]:
        """Return start and stop of each row's own tokens.

        Raises:
            NotMeasurableError: Padding is between the tokens of a row, or on different sides.
        """
        self._refuse_holes(self.of(batch))
        return self.limits(batch)

    def texts(self, batch: Any) -> list[Tensor]:
        """Return the ids of each row's own tokens, ``(T,)`` each."""
        ids = as_tensor(tree.get(batch, self.ids)).detach().cpu()
        return [row[start:stop] for row, (start, stop) in zip(ids, self.spans(batch), strict=True)]

    def padded_in_front(self, batch: Any) -> bool | None:
        """Return whether a batch is padded on the left; None if nothing is padded."""
        own = self.of(batch)
        padded = ~own.all(1)
        return bool((~own[padded, 0]).all()) if bool(padded.any()) else None

    def _refuse_holes(self, own: Tensor) -> None:
        path = tree.path(self.mask or self.ids)
        if bool((own.long().diff(dim=1) != 0).sum(1).gt(1).any()):
            raise NotMeasurableError(
                f"{path!r} is 0 between the tokens of a row; allowed is padding on one side. Give batches padded by "
                'the tokenizer, with padding_side="left" or "right".'
            )
        front, behind = ~own[:, 0], ~own[:, -1]
        if (bool((front & ~behind).any()) and bool((behind & ~front).any())) or bool(
            (front & behind & own.any(1)).any()
        ):
            raise NotMeasurableError(
                f"{path!r} is 0 in front of some rows' tokens and behind others'; allowed is one side. Give all "
                'examples to the tokenizer at once, with padding_side="left" or "right".'
            )


@dataclass(frozen=True)
class Tokenwise:
    """A node ``(B, T)`` with one entry per token.

    Attributes:
        own: The tokens of a row that are not padding.
        exemplar: A node of the same type; it may be empty.
        pad: Value at padding; None until a batch with padding was seen.
        in_front: Whether batches are padded on the left; None until a batch with padding was seen.
        default: Value at padding until a batch with padding was seen.
    """

    own: OwnTokens
    exemplar: Any
    pad: float | None = None
    in_front: bool | None = None
    default: float = 0
    padded = False

    def read(self, batch: Any, node: Any) -> Any:
        """Return the entries of each row's own tokens.

        Raises:
            NotMeasurableError: The node and the ids have different shapes.
        """
        rows, ids = as_tensor(node), as_tensor(tree.get(batch, self.own.ids))
        if rows.shape != ids.shape:
            raise NotMeasurableError(
                f"a leaf has the shape {tuple(rows.shape)} in a batch whose ids have {tuple(ids.shape)}, but had an "
                "entry for each token in the first batch. Leave it out of the batches."
            )
        return [row[start:stop] for row, (start, stop) in zip(rows, self.own.spans(batch), strict=True)]

    def write(self, rows: Any, lengths: Lengths) -> Any:
        """Return the rows, padded to the longest.

        Raises:
            NotMeasurableError: They differ in length, and there is no mask to mark padding.
        """
        counts = {len(row) for row in rows}
        if len(counts) > 1 and self.own.mask is None:
            raise NotMeasurableError(
                f"rebuilt texts differ in length, {min(counts)} to {max(counts)} tokens, and the batch has no mask. "
                f"Put the tokenizer's attention_mask into the batch: Modality({tree.path(self.own.ids)!r}, "
                'mask="attention_mask").'
            )
        value = self.default if self.pad is None else self.pad
        return as_before(_padded_rows(list(rows), value, in_front=bool(self.in_front)), self.exemplar)

    def settled(self, batch: Any, node: Any) -> "Tokenwise":
        """Return the holding with unknown padding attributes set from a batch."""
        if self.in_front is not None and self.pad is not None:
            return self
        padding = as_tensor(node).detach().cpu()[~self.own.of(batch)]
        if not len(padding):
            return self
        in_front = self.own.padded_in_front(batch) if self.in_front is None else self.in_front
        return replace(self, pad=padding.mode().values.item(), in_front=in_front)


def _padded_rows(rows: list[Tensor], value: float, *, in_front: bool) -> Tensor:
    """Return rows of several lengths as one tensor."""
    longest = max(len(row) for row in rows)
    found = rows[0].new_full((len(rows), longest), value)
    for place, row in enumerate(rows):
        found[place, slice(longest - len(row), None) if in_front else slice(len(row))] = row
    return found


def default_padding(rows: Iterable[Tensor]) -> float:
    """Return the most likely value of a leaf at padding: -100 if the leaf contains it, otherwise 0."""
    return IGNORED if any(bool((row == IGNORED).any()) for row in rows) else 0
