"""Two reports side by side: what a model relies on in some examples and not in others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mviz_lightning.explainers.text_tables import align, format_number
from mviz_lightning.functional.differences import ShareDifference, share_differences
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.notebook.displayed import Displayed

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class ShareComparison(Displayed):
    """The values of two reports that were measured on different examples; prints as a table.

    Attributes:
        names: Names of the examples that the first and the second report were measured on.
        first: Values of the first report, by the names that the monitor logs, without prefix.
        second: Values of the second report.
    """

    names: tuple[str, str]
    first: Mapping[str, float]
    second: Mapping[str, float]

    @property
    def differences(self) -> dict[str, ShareDifference]:
        """Name of a share or score that both reports have -> the first report's value less the second's."""
        return share_differences(self.first, self.second)

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
