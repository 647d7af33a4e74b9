"""How many rows one forward gets."""

from torch import Tensor


def next_chunk(remaining: int, limit: int) -> int:
    """Return the next chunk's number of rows: the limit, or one more if a single row would be left over."""
    if remaining <= limit:
        return remaining
    return limit if remaining - limit > 1 else limit + 1


def at_least_two(rows: Tensor) -> Tensor:
    """Return ``(R, ...)`` rows; a single one twice: a model that squeezes would lose its batch dimension."""
    return rows.expand(max(len(rows), 2), *rows.shape[1:])
