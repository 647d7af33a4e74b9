"""The description of an interleaved text in a schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.interleaved.blocks import Block, BlockFinder
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.batch.interleaved.tokenwise import OwnTokens
from mviz_lightning.batch.modality import Modality


@dataclass(frozen=True)
class Interleaving:
    """A modality whose text contains placeholders of other modalities.

    Attributes:
        text: Name of the modality of the text.
        ids: Path of the ids, ``(B, T)`` in a batch.
        own: The tokens of a row that are not padding.
        labels: Path of the labels, -100 at tokens outside the answer; None without labels.
        tokenwise: Paths of all leaves with an entry for each token, the ids first.
        media: Name of a modality with placeholders -> paths of its leaves, the values first.
        finder: Finds the blocks. Its wrappers come from the model's configuration; examples may add more.
        tokens: All tokens with a meaning beyond words.
    """

    text: str
    ids: str
    own: OwnTokens
    labels: str | None
    tokenwise: tuple[str, ...]
    media: Mapping[str, tuple[str, ...]]
    finder: BlockFinder
    tokens: PlaceholderTokens

    @property
    def mask(self) -> str | None:
        """Path of the mask; None if nothing is padded."""
        return None if self.own.mask is None else tree.path(self.own.mask)

    def completed(self, name: str, modality: Modality) -> Modality:
        """Return a modality that the user declared, with the mask and the companions that were found."""
        inputs = [path for path in self.tokenwise if path != self.labels]
        found = inputs if name == self.text else self.media.get(name, ())
        mask = self.mask if name == self.text else next((path for path in found if path.endswith("mask")), None)
        if modality.mask_leaf is None and mask is not None:
            modality = replace(modality, mask=mask, companions=[one for one in modality.companions if one != mask])
        named = tuple(f"{path}." for path in modality.leaves)
        further = [path for path in found if path not in modality.leaves and not path.startswith(named)]
        return replace(modality, companions=[*modality.companions, *further]) if further else modality

    def blocks(self, ids: Tensor) -> list[Block]:
        """Return the blocks of a text, ``(T,)`` ids without padding, in their order."""
        return self.finder.blocks(ids)

    def block_counts(self, ids: Tensor) -> tuple[int, ...]:
        """Return the number of blocks of each modality in a text ``(T,)``; texts with equal numbers are recombined."""
        names = [block.modality for block in self.blocks(ids)]
        return tuple(names.count(name) for name in self.media)

    def told_by(self, rows: Sequence[Mapping[str, Any]]) -> "Interleaving":
        """Return a copy with the wrappers that occur in examples.

        Args:
            rows: Examples, each a path -> leaf with one entry.
        """
        finder = self.finder.told_by([row[self.ids][0] for row in rows], self.tokens.special - self.tokens.ids)
        return replace(self, finder=finder)
