"""A uniform random sample of the examples of one pass, independent of their order and the number of processes."""

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from mviz_lightning.batch.rows import kept_copy
from mviz_lightning.batch.schema import BatchSchema

Example: TypeAlias = Mapping[str, Any]
"""Path -> leaf with one entry: the leaves of one example."""


def priority(seed: int, position: int) -> int:
    """Return a 64-bit pseudo-random number that depends only on the seed and the example's position in the data set."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest(), "big")


@dataclass
class Reservoir:
    """The ``capacity`` examples with the lowest priorities among all examples added so far.

    An example's priority depends only on its position, so one process and several keep the same examples.

    Attributes:
        capacity: Number of examples to keep.
        seed: Seed of the priorities.
        pinned: Positions of further examples that are kept at any priority.
    """

    capacity: int
    seed: int = 0
    pinned: frozenset[int] = frozenset()
    _pins: dict[int, Example] = field(default_factory=dict)
    _heap: list[tuple[int, int]] = field(default_factory=list)
    _rows: dict[int, Example] = field(default_factory=dict)

    def add(self, schema: BatchSchema, leaves: Mapping[str, Any], positions: Sequence[int | None]) -> None:
        """Add the examples of a batch; kept examples are copied to the CPU.

        Args:
            schema: The batch's schema.
            leaves: Path -> leaf with ``len(positions)`` examples.
            positions: Position of each example in the data set; None for a repeated example, which is not added.
        """
        wanted = {i: position for i, position in enumerate(positions) if position is not None and self._wants(position)}
        if not wanted:
            return
        copies = {path: kept_copy(leaves[path], torch.tensor(list(wanted))) for path in schema.owners}
        for k, position in enumerate(wanted.values()):
            self._push(position, {path: kept_copy(leaf, torch.tensor([k])) for path, leaf in copies.items()})

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
        """Return the positions of the kept examples in ascending order, without examples that are only pinned."""
        return sorted(self._rows)

    def rows(self, positions: Sequence[int]) -> dict[int, Example]:
        """Return position -> example for the given positions that are kept or pinned."""
        kept = self._pins | self._rows
        return {position: kept[position] for position in positions if position in kept}


def lowest(seed: int, positions: Sequence[int], capacity: int) -> list[int]:
    """Return the positions that a single reservoir would have kept, in ascending order.

    Args:
        seed: Seed of the priorities.
        positions: Positions that several reservoirs kept.
        capacity: Number of positions to keep.
    """
    return sorted(heapq.nsmallest(capacity, set(positions), key=lambda position: priority(seed, position)))
