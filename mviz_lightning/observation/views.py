"""Scores with several rows per example: views, crops or candidates that the step stacks."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_VIEWS = 64
"""Largest number of rows of one example that are averaged; more rows are positions of a sequence or a map."""


@dataclass(frozen=True)
class Views:
    """How the rows of scores belong to examples.

    Attributes:
        count: Number of rows of an example, V.
        blocks: Order of the rows. True: a block of all examples for each view (row v * B + i is example i), as with
            ``repeat`` and ``cat``. False: the rows of an example are consecutive (row i * V + v), as with
            ``repeat_interleave``.
    """

    count: int
    blocks: bool

    def __str__(self) -> str:
        order = "v * B + i" if self.blocks else f"i * {self.count} + v"
        return f"the mean of its {self.count} rows of scores, row {order} for view v of example i"

    @property
    def code(self) -> str:
        """Code to append to scores that averages them: ``.unflatten(0, (-1, 3)).mean(1)``."""
        shape, axis = ((self.count, -1), 0) if self.blocks else ((-1, self.count), 1)
        return f".unflatten(0, {shape}).mean({axis})"

    def split(self, rows: Tensor) -> Tensor:
        """Return ``(B * V, ...)`` rows as ``(B, V, ...)``."""
        shape = (self.count, -1) if self.blocks else (-1, self.count)
        found = rows.reshape(*shape, *rows.shape[1:])
        return found.transpose(0, 1) if self.blocks else found

    def by_example(self, rows: Tensor) -> Tensor:
        """Return ``(B, ...)``: the mean of an example's rows; for whole numbers, which are labels, the first row."""
        found = self.split(rows)
        return found.mean(1) if found.is_floating_point() else found[:, 0]

    def fits(self, target: Tensor) -> bool:
        """Return whether all rows of an example have the same target."""
        found = self.split(target)
        return bool((found == found[:, :1]).all())


def possible_views(rows: int, count: int) -> tuple[Views, ...]:
    """Return the ways in which rows may belong to ``count`` examples; none if the numbers do not fit."""
    views = rows // count if count > 1 else 1
    return tuple(Views(views, blocks) for blocks in (False, True) if rows == views * count and 1 < views <= MOST_VIEWS)


def views_of(scores: Tensor, target: Any, count: int) -> tuple[Views, ...]:
    """Return the ways in which rows of scores may belong to examples: those that give each example a single target.

    Args:
        scores: ``(R, C)`` or ``(R,)`` scores.
        target: The tensor that the scores are compared with.
        count: Number of examples.
    """
    if not isinstance(target, Tensor) or scores.dim() not in (1, 2) or not target.dim() or len(target) != len(scores):
        return ()
    with torch.no_grad():
        return tuple(one for one in possible_views(len(scores), count) if one.fits(target))
