"""The tokens of texts with placeholders: where they are in a batch of rebuilt rows, and where in their examples."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import Probe, tree
from mviz_lightning.batch.arrays import as_tensor
from mviz_lightning.batch.interleaved.splicing import TokenPlaces


@dataclass(frozen=True)
class RowTokens:
    """The tokens of rebuilt rows, in the padded batch and in the texts of the examples that they were taken from.

    Attributes:
        places: Where each token comes from.
        firsts: ``(R,)`` long: the position of each row's first token in the batch.
        width: Number of positions of the batch, T.
    """

    places: TokenPlaces
    firsts: Tensor
    width: int

    @classmethod
    def of(cls, probe: Probe, modality: str, sources: Tensor, batch: Any) -> "RowTokens | None":
        """Return the tokens of rows; None where the modality is no text with placeholders.

        Args:
            probe: The examples.
            modality: Name of the modality.
            sources: ``(R, M)`` the example that each modality of each row is taken from.
            batch: The rows.
        """
        if probe.splicer is None or modality != probe.splicer.interleaving.text:
            return None
        own = probe.splicer.interleaving.own.with_masked(batch)
        return cls(probe.splicer.places(sources), own.long().argmax(1), own.shape[1])

    @cached_property
    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        """The row, the position in the batch and the position in the text, of each token of the rows' own texts."""
        rows, tokens = self.places.of_text.nonzero(as_tuple=True)
        return rows, self.firsts[rows] + tokens, self.places.positions[rows, tokens]

    def in_batch(self, entries: Tensor) -> Tensor:
        """Return ``(R, L)`` entries of the texts as ``(R, T)`` entries of the batch; 1 at placeholders and padding."""
        rows, there, here = self._index
        return entries.new_ones(len(entries), self.width).index_put((rows, there), entries[rows, here])

    def in_texts(self, entries: Tensor, length: int) -> Tensor:
        """Return ``(R, T)`` entries of the batch as ``(R, length)`` entries of the texts; 0 where none belongs."""
        rows, there, here = self._index
        return entries.new_zeros(len(entries), length).index_put((rows, here), entries[rows, there])


def entries_of(probe: Probe, modality: str, path: str, batch: Any, shape: torch.Size | None = None) -> Any:
    """Return a leaf of a batch; a leaf of a text with placeholders as the model gets it, padded like the batch.

    Args:
        probe: The examples.
        modality: Name of the leaf's modality.
        path: Path of the leaf.
        batch: Some rows.
        shape: The shape of one example to which a list of arrays is padded; by default that of the largest.
    """
    found = probe.schema.interleaving
    if found is not None and path in found.tokenwise and modality == found.text:
        return as_tensor(tree.get(batch, probe.schema.keys[path]))
    return probe.schema.leaf(batch, path, shape)
