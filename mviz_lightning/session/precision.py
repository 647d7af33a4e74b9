"""The number of examples for narrower intervals, and the kinds of examples that a sample may miss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mviz_lightning.functional.contribution import bound_name

WANTED = 0.05
"""Largest half-width of an interval of a share for which no more examples are advised."""

RARE = 0.03
"""Largest frequency of a kind of examples that a sample may miss without a line about it."""

UNSEEN = 3
"""Mean number of examples of a kind at which a sample holds none of them in 5 % of all draws (``exp(-3)``)."""

LIMITED = "budget={budget} rows are enough for {examples} examples in {groups} groups of {group}"


@dataclass(frozen=True)
class Precision:
    """The precision of the shares of a run.

    Attributes:
        examples: Number of examples that were recombined, N.
        group: Number of examples in a group; N is rounded up to a multiple of it.
        available: Number of validation examples; None if there may be more than were kept.
        budget: The budget, if it made the groups smaller; else None.
        rows: Number of rows that a group takes.
    """

    examples: int
    group: int
    available: int | None = None
    budget: int | None = None
    rows: int = 0

    def advice(self, values: Mapping[str, float]) -> str:
        """Return advice on how to make the widest interval narrow; ``""`` if it is narrow.

        A half-width h shrinks with the square root of the number of examples: ``N (h / 0.05)^2`` examples give 0.05.

        Args:
            values: Shares and their bounds, by name.
        """
        widths = {name: half_width(values, name) for name in values}
        widths = {name: width for name, width in widths.items() if round(width, 2) > WANTED}  # rounded as in the text
        lines = [] if self.budget is None else [LIMITED.format(**vars(self), groups=self.examples // self.group)]
        if widths:
            name = max(widths, key=lambda name: widths[name])
            lines.append(f"the widest interval is {name} +-{widths[name]:.2f}; {self._enough(widths[name])}")
        if UNSEEN / self.examples > RARE:
            lines.append(
                f"{self.examples} examples may miss kinds of examples rarer than 1 in {self.examples // UNSEEN}; for "
                "effects in such kinds alone, intervals cover less than 95 %"
            )
        return "; ".join(lines)

    def _enough(self, width: float) -> str:
        count = self._rounded(self.examples * (width / WANTED) ** 2)
        more = "" if self.budget is None else f" and budget to about {count // self.group * self.rows:,}"
        wanted = f"for +-{WANTED} set num_examples to about {count:,}{more}"
        if self.available is None or count <= self.available:
            return wanted
        return f"{wanted}, but the validation set has {self.available:,} examples"

    def _rounded(self, count: float) -> int:
        return math.ceil(count / self.group - 1e-9) * self.group  # 9,216 plus a rounding error needs no further group


def half_width(values: Mapping[str, float], name: str) -> float:
    """Return half the width of a value's interval; 0 for a value without one, and where the bounds are NaN."""
    low, high = (values.get(bound_name(name, "low")), values.get(bound_name(name, "high")))
    if low is None or high is None or not math.isfinite(high - low):
        return 0.0
    return (high - low) / 2
