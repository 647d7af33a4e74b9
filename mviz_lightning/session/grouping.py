"""How many examples are recombined, and with how many others each."""

from dataclasses import dataclass

CHEAP = 0.25
"""Largest cost of the enlarged groups, as a fraction of evaluating the default groups without reuse."""


@dataclass(frozen=True)
class Grouping:
    """How many examples are recombined, and with how many others each.

    Attributes:
        examples: Number of examples in all groups together.
        size: Number of examples in a group.
    """

    examples: int
    size: int
