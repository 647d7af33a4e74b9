"""Rows whose logits the user's own step computed; a score of answers reads them like its own rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mviz_lightning.batch.holdings import unpadded
from mviz_lightning.batch.probe import Probe


class TextRows(Protocol):
    """Rows of texts, with the logits of a model at their tokens."""

    @property
    def texts(self) -> Mapping[str, Sequence[Tensor]]:
        """Path of each per-token leaf -> its entries in each row, ``(T,)`` each, without padding."""

    @property
    def ids(self) -> Sequence[Tensor]:
        """The ids of each row, ``(T,)`` each."""

    @property
    def lengths(self) -> Tensor:
        """``(R,)`` long: the number of tokens of each row."""

    def logits(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Return ``(P, V)`` logits at tokens of the rows, given ``(P,)`` rows and positions in them."""


@dataclass(frozen=True)
class SeenRows:
    """Rows of a batch for which the user's own step computed the logits of every token.

    Attributes:
        texts: Path of each per-token leaf -> its entries in each row, up to the last that is read, ``(T,)`` each.
        ids: The ids of each row.
        found: ``(B, T, V)`` logits of the batch.
        rows: ``(R,)`` long: the positions of the rows in the batch.
        starts: ``(R,)`` long: the positions of their first tokens.
    """

    texts: Mapping[str, Sequence[Tensor]]
    ids: Sequence[Tensor]
    found: Tensor
    rows: Tensor
    starts: Tensor

    @classmethod
    def of(cls, examples: Probe, found: Tensor, rows: Tensor, starts: Tensor) -> "SeenRows":
        """Return the rows that some examples are copies of; the other arguments are the attributes of the same name.

        Raises:
            ValueError: The texts hold no placeholders.
        """
        interleaving = examples.schema.interleaving
        if interleaving is None:
            raise ValueError("only texts with placeholders are read token by token")
        held = {path: (examples.leaves[path], examples.bounds.get(path)) for path in interleaving.tokenwise}
        texts = {path: unpadded(*given) for path, given in held.items()}
        return cls(texts, texts[interleaving.ids], found, rows, starts)

    @property
    def lengths(self) -> Tensor:
        """``(R,)`` long: the number of tokens of each row."""
        return torch.tensor([len(row) for row in self.ids])

    def logits(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Return ``(P, V)`` logits at tokens of the rows."""
        device = self.found.device
        return self.found[self.rows[rows].to(device), (self.starts[rows] + positions).to(device)]
