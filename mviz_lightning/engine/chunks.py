"""The number of rows in one forward."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from mviz_lightning.engine.memory import free_gpu_memory, ran_out
from mviz_lightning.engine.progress import tell_evaluated
from mviz_lightning.engine.shape_buckets import in_buckets

T = TypeVar("T")


def next_chunk(remaining: int, limit: int) -> int:
    """Return the next chunk's number of rows: the limit, or one more if a single row would be left over."""
    if remaining <= limit:
        return remaining
    return limit if remaining - limit > 1 else limit + 1


def at_least_two(rows: Tensor) -> Tensor:
    """Return ``(R, ...)`` rows, a single row twice: a model that squeezes would lose its batch dimension."""
    return rows.expand(max(len(rows), 2), *rows.shape[1:])


class InChunks:
    """Runs functions on rows, shape by shape and chunk by chunk.

    Attributes:
        chunk_size: Largest number of rows at a time. It is halved for good when memory runs out.
    """

    chunk_size: int

    def run_forward(self, forward: Callable[[], T]) -> T:
        """Return what a forward returns."""
        return forward()

    def by_shape(
        self, shapes: Tensor, forward: Callable[[Tensor], Tensor], most: int | None = None, *, scale: int = 1
    ) -> Tensor:
        """Run a function on the numbers of all rows, by shape and by chunk; results are in the rows' order."""

        def run(rows: Tensor) -> Tensor:
            return torch.cat(self.in_chunks(len(rows), lambda some: forward(rows[some]), most, scale=scale))

        return in_buckets(shapes, run)

    def in_chunks(
        self, count: int, forward: Callable[[slice], T], most: int | None = None, *, scale: int = 1
    ) -> list[T]:
        """Return a function's results on all rows, chunk by chunk; chunks shrink when memory runs out.

        Args:
            count: Number of rows.
            forward: Runs a slice of the rows.
            most: Largest number of rows at a time; the chunk size by default.
            scale: Multiple of the chunk size that fits into memory.
        """
        found: list[T] = []
        done = 0
        while done < count:
            usual = scale * self.chunk_size
            rows = next_chunk(count - done, usual if most is None else min(most, usual))
            chunk = self._or_fewer(partial(forward, slice(done, done + rows)), rows)
            found += chunk
            tell_evaluated(rows * len(chunk))
            done += rows * len(chunk)
        return found

    def _or_fewer(self, forward: Callable[[], T], rows: int) -> list[T]:
        """Return ``[result]``; if memory runs out, return ``[]`` and halve the chunk size."""
        try:
            return [self.run_forward(forward)]
        except RuntimeError as error:
            if not ran_out(error) or rows <= 3 or self.chunk_size <= 2:
                raise
            self.chunk_size = max(2, min(rows, self.chunk_size) // 2)
        free_gpu_memory()  # outside the handler, whose traceback keeps the chunk's memory
        return []
