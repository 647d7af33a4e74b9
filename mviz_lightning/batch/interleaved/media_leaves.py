"""Find the leaves with one entry per item of a modality, or per patch of its items."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.arrays import empty_like
from mviz_lightning.batch.counts import products
from mviz_lightning.batch.discovery import NamedNodes
from mviz_lightning.batch.holdings import Holding
from mviz_lightning.batch.interleaved.blocks import BlockFinder
from mviz_lightning.batch.interleaved.dealing import DealtItems, ItemTokens
from mviz_lightning.batch.interleaved.media import MediaItems
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.batch.interleaved.refusals import refuse_lists, refuse_unknown_wrappers
from mviz_lightning.batch.interleaved.tokenwise import OwnTokens
from mviz_lightning.batch.modality import Modality

MEDIA = re.compile(r"image|pixel|video|audio|feature|grid|patch|tile|frame|crop|mel|wave|sound", re.IGNORECASE)
"""Names of leaves with one entry per item; needed if a batch has as many items as examples."""

KINDS = {
    "video": re.compile(r"video|frame", re.IGNORECASE),
    "audio": re.compile(r"audio|sound|speech|(^|[. ])(input_)?feature|mel|wave", re.IGNORECASE),
    "image": re.compile(r"image|picture|pixel|vision", re.IGNORECASE),
    "vision": re.compile(r"image|picture|pixel|vision", re.IGNORECASE),
}
"""Kind of placeholder -> names of modalities and leaves with such items, the more specific kinds first."""


def leaves_below(modality: Modality, arrays: Mapping[str, Tensor]) -> list[str]:
    """Return the leaves that the user named for a modality; for a container, the arrays below it.

    Args:
        modality: The modality.
        arrays: Path -> array of the batch.
    """
    found: list[str] = []
    for path in modality.leaves:
        found += [path] if path in arrays else [one for one in arrays if one.startswith(f"{path}.")] or [path]
    return found


@dataclass(frozen=True)
class MediaSearch:
    """Finds the leaves of the modalities with placeholders.

    Attributes:
        nodes: The nodes of a first batch.
        arrays: Path -> array of the batch.
        modalities: Name -> modality, as the user named them.
        names: Names of the modalities with placeholders.
        tokenwise: Paths of the leaves with an entry for each token.
    """

    nodes: NamedNodes
    arrays: Mapping[str, Tensor]
    modalities: Mapping[str, Modality]
    names: tuple[str, ...]
    tokenwise: tuple[str, ...]

    def leaves(self, name: str) -> tuple[str, ...]:
        """Return the paths of a modality's leaves, the values first."""
        own = leaves_below(self.modalities[name], self.arrays)
        return (*own, *self._beside(name)) if own[0] in self.arrays else tuple(own)

    @property
    def joined(self) -> list[str]:
        """The modalities whose items are concatenated, unlike a list with the items of each example."""
        return [name for name in self.names if self._values(name) in self.arrays]

    def _beside(self, name: str) -> Iterator[str]:
        """Yield further leaves of a modality that the user did not name."""
        counts, size = self._entries(name), len(self.arrays[self.tokenwise[0]])
        named = {path for one in self.modalities.values() for path in leaves_below(one, self.arrays)}
        for path, array in self.arrays.items():
            alike = path not in named and path not in self.tokenwise and len(array) in counts
            told = len(array) != size or MEDIA.search(path)  # else it may have one entry per example
            if alike and told and self._owner(path, len(array)) == name:
                yield path

    def _owner(self, path: str, length: int) -> str:
        """Return the modality of a leaf with this length, preferably one whose kind is in the leaf's name."""
        fitting = [name for name in self.joined if length in self._entries(name)]
        said = {name: [one for one in KINDS.values() if one.search(self._values(name))] for name in fitting}
        akin = [name for name in fitting if any(one.search(path) for one in said[name])]
        video = [name for name in akin if KINDS["video"].search(path) and KINDS["video"].search(self._values(name))]
        return [*video, *akin, *fitting][0]

    def _values(self, name: str) -> str:
        return leaves_below(self.modalities[name], self.arrays)[0]

    def _entries(self, name: str) -> set[int]:
        """Return the numbers of items and of their patches."""
        grid = self._grid(name)
        return {len(self.arrays[self._values(name)]), *([] if grid is None else [len(self.arrays[grid])])}

    def _grid(self, name: str) -> str | None:
        """Return the path of the grid whose products are the items' numbers of patches; None if items are not cut."""
        total = len(self.arrays[self._values(name)])
        for path, array in self.arrays.items():
            grid = path not in self.tokenwise and _tells_size(array) and array.shape[1] > 1 and len(array) != total
            if grid and int(products(array).sum()) == total:
                return path
        return None

    def holdings(
        self, own: OwnTokens, finder: BlockFinder, tokens: PlaceholderTokens, ask: ItemTokens | None
    ) -> dict[str, Holding]:
        """Return how the nodes with all items store the items of each example.

        Args:
            own: The tokens of a row that are not padding.
            finder: Finds the blocks.
            tokens: The placeholders.
            ask: Returns the number of placeholders of each item; None if the model has no rule.
        """
        batch, found = self.nodes.found[""][1], dict[str, Holding]()
        for name in self.joined:
            paths, grid = self.leaves(name), self._grid(name)
            refuse_lists([path for path in paths if path not in self.arrays], name)
            dealt = with_told_counts(self._dealt(name, own, finder, grid), batch, paths, ask)
            refuse_unknown_wrappers(dealt, tokens, batch, self.tokenwise[0])
            for path in paths:
                by_item = grid is None or len(self.arrays[path]) == len(self.arrays[grid])
                exemplar = empty_like(self.nodes.found[path][1])
                found[path] = MediaItems(dealt, None if by_item or grid is None else self._keys(grid), exemplar)
        return found

    def _dealt(self, name: str, own: OwnTokens, finder: BlockFinder, grid: str | None) -> DealtItems:
        paths = self.leaves(name)
        items = len(self.arrays[grid or paths[0]])
        sized = [path for path in paths if len(self.arrays[path]) == items and _tells_size(self.arrays[path])]
        sizes = tuple(self._keys(path) for path in sized)
        return DealtItems(name, own, finder, self._keys(paths[0]), sizes, None if grid is None else self._keys(grid))

    def _keys(self, path: str) -> tree.Keys:
        return self.nodes.found[path][0].keys


def with_told_counts(dealt: DealtItems, batch: Any, paths: Sequence[str], ask: ItemTokens | None) -> DealtItems:
    """Return ``dealt`` with the model's numbers of placeholders, if the batch alone does not determine them.

    Args:
        dealt: Assigns the items of a modality to rows.
        batch: A batch.
        paths: Paths of the modality's leaves.
        ask: Returns the number of placeholders of each item.
    """
    if ask is None or dealt.is_certain(batch):
        return dealt
    found = {path: node for keys, node in tree.nodes(batch) if (path := tree.path(keys)) in paths}
    told = ask(dealt.modality, found)
    return dealt if told is None else dealt.told(batch, told)


def _tells_size(array: Tensor) -> bool:
    """Return whether a leaf has a few whole numbers per item."""
    return not array.is_floating_point() and array.dim() == 2 and array.shape[1] < 5
