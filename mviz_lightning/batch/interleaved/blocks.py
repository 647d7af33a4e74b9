"""Blocks: runs of placeholders in a text, each for items of one modality, with the wrapper tokens around them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import torch
from torch import Tensor

WORD, WRAPPER, BLANK = 0, -1, -2
"""Classes of tokens; placeholders of the k-th modality have class k + 1."""


@dataclass(frozen=True)
class Block:
    """A part of a text with placeholders for items of one modality.

    Attributes:
        modality: Name of the modality.
        start: Position of the first token.
        stop: Position after the last token.
    """

    modality: str
    start: int
    stop: int


@dataclass(frozen=True)
class BlockFinder:
    """Finds the blocks of a text.

    A block is a run of placeholders and wrappers. White space inside an item belongs to the block too: each row of
    tiles of a picture is on its own line, so white space between a placeholder and a wrapper does not end the block.

    Attributes:
        placeholders: Modality -> ids of its placeholders.
        wrappers: Ids of tokens that occur only next to placeholders: begin and end of an item, row and column of a
            tile.
        blank: Ids of white-space tokens.
    """

    placeholders: Mapping[str, tuple[int, ...]]
    wrappers: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()

    def blocks(self, ids: Tensor) -> list[Block]:
        """Return the blocks of a text ``(T,)`` in their order."""
        runs = _joined(self._runs(ids))
        stretches = (list(found) for inside, found in groupby(runs, lambda run: run.is_inside) if inside)
        return [block for stretch in stretches for block in self._of_stretch(stretch)]

    def placeholders_in(self, ids: Tensor, modality: str) -> int:
        """Return the number of a modality's placeholders in a text ``(T,)``."""
        return int(self._are_placeholders(ids, modality).sum())

    def stretches_in(self, ids: Tensor, modality: str) -> int:
        """Return the number of contiguous runs of a modality's placeholders in a text ``(T,)``."""
        return len(self._neighbours(ids, modality))

    def are_wrapped(self, ids: Tensor, modality: str) -> bool:
        """Return whether each run of a modality's placeholders in a text ``(T,)`` has wrappers on both sides."""
        return all(kinds == (WRAPPER, WRAPPER) for kinds in self._neighbours(ids, modality))

    def _neighbours(self, ids: Tensor, modality: str) -> list[tuple[int, int]]:
        """Return the classes of the tokens before and after each run of a modality's placeholders."""
        runs, own = _joined(self._runs(ids)), 1 + list(self.placeholders).index(modality)
        kinds = [WORD, *(run.kind for run in runs), WORD]
        around = zip(kinds, kinds[1:], kinds[2:], strict=False)
        return [(before, after) for before, kind, after in around if kind == own]

    def _are_placeholders(self, ids: Tensor, modality: str) -> Tensor:
        return torch.isin(ids.cpu(), torch.tensor(self.placeholders[modality]))

    def _runs(self, ids: Tensor) -> list["_Run"]:
        classes = torch.full(ids.shape, WORD)
        named = [(BLANK, self.blank), (WRAPPER, self.wrappers), *enumerate(self.placeholders.values(), 1)]
        for number, tokens in named:
            classes[torch.isin(ids.cpu(), torch.tensor(list(tokens), dtype=torch.long))] = number
        kinds, counts = torch.unique_consecutive(classes, return_counts=True)
        stops = counts.cumsum(0)
        return [_Run(*run) for run in zip(kinds.tolist(), (stops - counts).tolist(), stops.tolist(), strict=True)]

    def _of_stretch(self, stretch: list["_Run"]) -> list[Block]:
        """Return the blocks of a run. Where placeholders of another modality follow, a new block begins.

        Wrappers between two modalities are split equally: half end the first block, half begin the second.
        """
        names, held = list(self.placeholders), [run for run in stretch if run.kind > 0]
        parts = [list(part) for _, part in groupby(held, lambda run: run.kind)]
        ends = [-(-(left[-1].stop + right[0].start) // 2) for left, right in pairwise(parts)]
        starts, stops = [stretch[0].start, *ends], [*ends, stretch[-1].stop]
        found = zip(parts, starts, stops, strict=True) if parts else ()
        return [Block(names[part[0].kind - 1], start, stop) for part, start, stop in found]

    def told_by(self, rows: Iterable[Tensor], candidates: frozenset[int]) -> "BlockFinder":
        """Return the finder whose wrappers are the candidates that occur only inside blocks.

        Args:
            rows: The ids of some texts, each ``(T,)``.
            candidates: Ids that may be wrappers: special tokens.
        """
        texts = list(rows)
        wrappers = self.wrappers | (candidates & frozenset(torch.unique(torch.cat(texts)).tolist()))
        while True:
            finder = replace(self, wrappers=wrappers)
            outside = frozenset(one for ids in texts for one in finder._outside(ids)) & (wrappers - self.wrappers)
            if not outside:
                return finder
            wrappers -= outside

    def _outside(self, ids: Tensor) -> set[int]:
        inside = torch.zeros(len(ids), dtype=torch.bool)
        for block in self.blocks(ids):
            inside[block.start : block.stop] = True
        return set(torch.unique(ids.cpu()[~inside]).tolist())


@dataclass(frozen=True)
class _Run:
    """Adjacent tokens of one class."""

    kind: int
    start: int
    stop: int

    @property
    def is_inside(self) -> bool:
        """Whether the tokens can be in a block."""
        return self.kind > 0 or self.kind == WRAPPER


def _joined(runs: list[_Run]) -> list[_Run]:
    """Return runs in which white space inside an item counts as a wrapper."""
    around = zip([None, *runs], runs, [*runs[1:], None], strict=False)
    return [
        replace(run, kind=WRAPPER)
        if run.kind == BLANK and before and after and before.kind > 0 and after.kind == WRAPPER
        else run
        for before, run, after in around
    ]
