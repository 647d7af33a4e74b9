"""Two reports side by side: what a model relies on in some examples and not in others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mviz_lightning.explainers.contribution_shares.subset_keys import bound_of
from mviz_lightning.explainers.text_tables import align, format_number
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.notebook.displayed import Displayed
from mviz_lightning.sinks.plain import Brief

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card

SCORES = ("score", "emap_score", "emap_gap", "perceptual", "flips")
"""Kinds of values without an interval that are compared too."""


@dataclass(frozen=True)
class ShareDifference(Brief):
    """A difference with its 95 % interval; the bounds are NaN where the values have none.

    Attributes:
        value: The first report's value less the second's.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ShareComparison(Displayed):
    """The values of two reports that were measured on different examples; prints as a table.

    Attributes:
        names: What the first and the second report were measured on.
        first: Values of the first report, by the names that the monitor logs, without prefix.
        second: Values of the second report.
    """

    names: tuple[str, str]
    first: Mapping[str, float]
    second: Mapping[str, float]

    @property
    def differences(self) -> dict[str, ShareDifference]:
        """Name of a share or score that both reports have -> their difference.

        The examples are independent, so the squares of the half-widths add up. Student's t is taken for granted with
        the degrees of freedom of each report alone, which makes the interval a little too wide.
        """
        both = [name for name in self.first if name in self.second and self._is_compared(name)]
        return {name: self._difference(name) for name in both}

    def _is_compared(self, name: str) -> bool:
        return bound_of(name, "low") in self.first or name.partition("/")[0] in SCORES

    def _difference(self, name: str) -> ShareDifference:
        value = self.first[name] - self.second[name]
        low, high = (bound_of(name, "low"), bound_of(name, "high"))
        if not {low, high} <= self.first.keys() & self.second.keys():
            return ShareDifference(value, math.nan, math.nan)
        half = math.hypot(*((values[high] - values[low]) / 2 for values in (self.first, self.second)))
        return ShareDifference(value, value - half, value + half)

    def _card(self) -> "Card":
        from mviz_lightning.session.card import comparison_card

        return comparison_card(self)

    def __str__(self) -> str:
        header = ["", *self.names, "difference [95 %]", ""]
        rows = [
            [name, format_number(self.first[name]), format_number(self.second[name]), _interval(found), _mark(found)]
            for name, found in self.differences.items()
        ]
        return align([header, *rows])


def _interval(found: ShareDifference) -> str:
    if math.isnan(found.low):
        return fixed(found.value, 3, "+")
    value, low, high = (fixed(number, 3, "+") for number in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _mark(found: ShareDifference) -> str:
    return "differs" if found.is_clear else ""
