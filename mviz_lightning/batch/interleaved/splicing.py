"""Insert the blocks of one example into the text of another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mviz_lightning.batch.interleaved.blocks import Block
from mviz_lightning.batch.interleaved.interleaving import Interleaving


@dataclass(frozen=True)
class TokenPlaces:
    """The source of each token of rebuilt rows; rows begin at 0, without padding before them.

    Attributes:
        examples: ``(R, T)`` long: the example from which a token is taken.
        positions: ``(R, T)`` long: its position among that example's own tokens.
        of_text: ``(R, T)`` bool, True at tokens of the row's own text, outside blocks.
        lengths: ``(R,)`` long: number of tokens of each row; padding follows them.
    """

    examples: Tensor
    positions: Tensor
    of_text: Tensor
    lengths: Tensor

    @property
    def own(self) -> Tensor:
        """``(R, T)`` bool, True at tokens, False at padding."""
        return torch.arange(self.positions.shape[1]) < self.lengths[:, None]

    def of(self, positions: Tensor) -> Tensor:
        """Return the positions in the rebuilt rows of tokens of the rows' texts, ``(R, K)``; -1 for tokens in blocks.

        Args:
            positions: ``(R, K)`` or ``(R, 1)`` positions among the own tokens of each row's text.
        """
        same = self.of_text[:, None] & (self.positions[:, None] == positions[..., None])
        return torch.where(same.any(2), same.long().argmax(2), -1)

    def spliced(self, leaf: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return ``(R, T)`` entries of the rebuilt rows of a leaf, 0 at padding.

        Args:
            leaf: ``(N, T)`` entries of all examples.
            rows: ``(R, T)`` entries of the rows' own texts, possibly masked; by default unmasked.
        """
        found = leaf[self.examples, self.positions]
        if rows is not None:
            own = rows.gather(1, self.positions.clamp(max=rows.shape[1] - 1))
            found = torch.where(self.of_text, own, found)
        return torch.where(self.own, found, torch.zeros_like(found))


@dataclass(frozen=True)
class Splicer:
    """Rebuilds texts with the blocks of other examples.

    Attributes:
        interleaving: The interleaved text and its modalities.
        names: Names of the modalities, in the order of sources.
        texts: The ids of each example's own tokens, ``(T,)`` each.
    """

    interleaving: Interleaving
    names: Sequence[str]
    texts: Sequence[Tensor]

    @cached_property
    def blocks(self) -> list[list[Block]]:
        """The blocks of each example, in the order of its text."""
        return [self.interleaving.blocks(text) for text in self.texts]

    @cached_property
    def counts(self) -> list[tuple[int, ...]]:
        """For each example, the number of blocks of each modality."""
        return [self.interleaving.block_counts(text) for text in self.texts]

    def places(self, sources: Tensor) -> TokenPlaces:
        """Return the source of each token of rows.

        Args:
            sources: ``(R, M)`` the example from which each modality of each row is taken.

        Raises:
            ValueError: The examples of a row differ in their number of blocks.
        """
        rows = [self._row(dict(zip(self.names, row, strict=True))) for row in sources.tolist()]
        lengths = torch.tensor([row.shape[1] for row in rows])
        longest = int(lengths.max()) if rows else 0
        whole = torch.zeros(3, len(rows), longest, dtype=torch.long)
        for place, row in enumerate(rows):
            whole[:, place, : row.shape[1]] = row
        return TokenPlaces(whole[0], whole[1], whole[2].bool(), lengths)

    def _row(self, sources: Mapping[str, int]) -> Tensor:
        """Return ``(3, T)`` for each token of a row: its example, its position, and whether it is the text's own."""
        first = next(iter(sources.values()))
        text = sources.get(self.interleaving.text, first)
        parts, place, used = [], 0, dict.fromkeys(self.interleaving.media, 0)
        for block in self.blocks[text]:
            other = sources.get(block.modality, first)
            mine = self._block(text, other, block.modality, used[block.modality])
            used[block.modality] += 1
            parts += [_stretch(text, place, block.start, own=True), _stretch(other, mine.start, mine.stop, own=False)]
            place = block.stop
        return torch.cat([*parts, _stretch(text, place, len(self.texts[text]), own=True)], 1)

    def _block(self, text: int, other: int, modality: str, number: int) -> Block:
        found = [block for block in self.blocks[other] if block.modality == modality]
        wanted = sum(block.modality == modality for block in self.blocks[text])
        if len(found) != wanted:
            raise ValueError(
                f"example {other} has {len(found)} blocks of {modality} and example {text} has {wanted}; allowed are "
                "rows of examples with equally many."
            )
        return found[number]


def _stretch(example: int, start: int, stop: int, *, own: bool) -> Tensor:
    positions = torch.arange(start, stop)
    return torch.stack([torch.full_like(positions, example), positions, torch.full_like(positions, own)])
