"""The number of recombined examples, and the size of their groups."""

from collections.abc import Callable
from dataclasses import dataclass

CHEAP = 0.25
"""Largest cost of the enlarged groups, as a fraction of evaluating the default groups without reuse."""

FEWEST = 6
"""Smallest number of groups if a budget makes the groups smaller.

Measured with 256 rows on models of two modalities with known shares (``tests/benchmarks/known_shares.py``), as means
over the totals. Intervals from 7 groups of 6 cover 95 % and have a half-width of 0.32. The half-width is 1.16 with 2
groups of 11, and 0.37 with 4 groups of 8. Intervals from groups of 4 cover only 92 %.
"""


def size_within(budget: int, rows: Callable[[int], int], usual: int, least: int) -> int:
    """Return the usual size of a group if the budget allows two such groups, otherwise a size that allows ``FEWEST``.

    Args:
        budget: Number of rows.
        rows: Takes the size of a group and returns the number of its rows.
        usual: The usual size.
        least: The smallest size.
    """
    if 2 * rows(usual) <= budget:
        return usual
    return next((size for size in range(usual, least, -1) if FEWEST * rows(size) <= budget), least)


@dataclass(frozen=True)
class Grouping:
    """The number of recombined examples, and the size of their groups.

    Attributes:
        examples: Number of examples in all groups together.
        size: Number of examples in a group.
    """

    examples: int
    size: int
