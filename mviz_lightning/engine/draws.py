"""Repeat an evaluation with other random numbers, and average over these draws."""

from collections.abc import Callable, Iterator
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class InDraws:
    """Repeats evaluations of a model that samples.

    Attributes:
        seed: Seed of the random numbers that a forward may draw.
        draws: Number of seeds over which the outputs are averaged.
    """

    seed: int
    draws: int

    def averaged(self, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return the mean over all draws of what a function returns that evaluates rows with :attr:`seed`."""
        total = reduce(torch.add, self.each_draw(self.draws, evaluate))
        return total if self.draws == 1 else total / self.draws

    def each_draw(self, count: int, evaluate: Callable[[], T]) -> Iterator[T]:
        """Yield what a function returns for each of ``count`` seeds, the object's own first."""
        first = self.seed
        try:
            for draw in range(count):
                self.seed = first + draw
                yield evaluate()
        finally:
            self.seed = first
