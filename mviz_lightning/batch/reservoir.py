"""A uniform sample of examples from one pass, whatever the order and the number of processes."""

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch.schema import BatchSchema

Example: TypeAlias = Mapping[str, Any]
"""The leaves of one example, by path; each a leaf of length 1."""


def priority(seed: int, position: int) -> int:
    """Return a random number that depends on the seed and the example's position in the data set alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest(), "big")


@dataclass
class Reservoir:
    """The ``capacity`` examples of lowest priority seen so far.

    Since an example's priority depends on its position alone, one process and several keep the same examples.

    Attributes:
        capacity: How many examples are kept.
        seed: Of the priorities.
        pinned: Positions of examples that are kept besides, whatever their priority.
    """

    capacity: int
    seed: int = 0
    pinned: frozenset[int] = frozenset()
    _pins: dict[int, Example] = field(default_factory=dict)
    _heap: list[tuple[int, int]] = field(default_factory=list)
    _rows: dict[int, Example] = field(default_factory=dict)

    def add(self, layout: BatchSchema, leaves: Mapping[str, Any], positions: Sequence[int | None]) -> None:
        """Consider the examples of a batch; rows that are kept are copied to the CPU at once.

        Args:
            layout: Where the leaves of the batch belong.
            leaves: By path, each with ``len(positions)`` examples.
            positions: Of the examples in the data set; None for one that is there twice.
        """
        wanted = {i: position for i, position in enumerate(positions) if position is not None and self._wants(position)}
        if not wanted:
            return
        copies = {path: leaf_kinds.keep(leaves[path], torch.tensor(list(wanted))) for path in layout.owners}
        for k, position in enumerate(wanted.values()):
            self._push(position, {path: leaf_kinds.keep(leaf, torch.tensor([k])) for path, leaf in copies.items()})

    def _wants(self, position: int) -> bool:
        return position in self.pinned or self._enters(position)

    def _enters(self, position: int) -> bool:
        room = len(self._heap) < self.capacity
        return position not in self._rows and (room or priority(self.seed, position) < -self._heap[0][0])

    def _push(self, position: int, row: Example) -> None:
        if position in self.pinned:
            self._pins[position] = row
        if not self._enters(position):
            return
        heapq.heappush(self._heap, (-priority(self.seed, position), position))
        self._rows[position] = row
        if len(self._heap) > self.capacity:
            del self._rows[heapq.heappop(self._heap)[1]]

    def positions(self) -> list[int]:
        """Return the positions of the kept examples, in ascending order."""
        return sorted(self._rows)

    def rows(self, positions: Sequence[int]) -> dict[int, Example]:
        """Return those of the kept rows, pinned ones among them, that stand at the given positions."""
        kept = self._pins | self._rows
        return {position: kept[position] for position in positions if position in kept}


def lowest(seed: int, positions: Sequence[int], capacity: int) -> list[int]:
    """Return the positions that one reservoir would have kept of those that several kept, in ascending order."""
    return sorted(heapq.nsmallest(capacity, set(positions), key=lambda position: priority(seed, position)))
