"""Examples ranked by what drives their predictions, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card

SURE = 2.0
"""Standard errors from which on a driver counts as sure."""


@dataclass(frozen=True)
class RankedExample(FromMethod, PredictionRecord):
    """One example, and the effects that make up one of its outputs: ``value = mean + effects + interaction``.

    Attributes:
        output: Index of the output that is split: the predicted class, the likeliest label, the first value.
        value: That output, centred over the classes where they exclude one another.
        effects: Modality -> what it adds to the output's mean by itself.
        errors: Modality -> standard error of its effect.
        interaction: What the modalities add only together, MI.
        interaction_error: Standard error of MI.
        driver: ``"<m> only"``, ``"interaction"`` or ``"mixed"``: which effect is at least twice as large as the others
            together (root of the sum of their squares).
        sureness: How many standard errors the example is away from another driver.
    """

    output: int
    value: float
    effects: Mapping[str, float]
    errors: Mapping[str, float]
    interaction: float
    interaction_error: float
    driver: str
    sureness: float

    @property
    def is_sure(self) -> bool:
        """Whether the driver is two standard errors or more away from another one."""
        return self.sureness >= SURE

    @property
    def _picture_name(self) -> None:
        return None

    def _card(self) -> "Card":
        from mviz_lightning.explainers.example_ranking.card import ranked_card

        return ranked_card(self)


@dataclass(frozen=True, kw_only=True)
class RankingResult(Result):
    """Examples ranked by what drives their predictions, at one moment of the training; prints as a table.

    Attributes:
        ranked: All recombined examples, the surest first.
        drivers: The kinds of drivers that there can be.
    """

    ranked: Sequence[RankedExample]
    drivers: Sequence[str]

    def driven_by(self, driver: str) -> list[RankedExample]:
        """Return the examples with this driver, the surest first.

        Args:
            driver: One of ``drivers``, for example ``"text only"``.
        """
        return [one for one in self.ranked if one.driver == driver]

    def __str__(self) -> str:
        from mviz_lightning.explainers.example_ranking.tables import ranking_text

        return ranking_text(self)

    def _card(self) -> "Card":
        from mviz_lightning.explainers.example_ranking.card import ranking_card

        return ranking_card(self)
