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
"""Smallest number of standard errors at which a driver counts as sure: about 95 % confidence."""


@dataclass(frozen=True)
class RankedExample(FromMethod, PredictionRecord):
    """One example, and the effects whose sum is one of its outputs: ``value = mean + effects + interaction``.

    Attributes:
        output: Index of the output that is split: the predicted class, the likeliest label, the first value.
        value: This output; for mutually exclusive classes, centred over the classes.
        effects: Modality -> its effect alone, relative to the output's mean.
        errors: Modality -> standard error of its effect.
        interaction: The multimodal interaction, MI.
        interaction_error: Standard error of MI.
        driver: ``"<m> only"`` or ``"interaction"``: the effect that is at least twice as large as the others together
            (root of the sum of their squares); otherwise ``"mixed"``.
        sureness: Distance from another driver, in standard errors.
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
    """Examples ranked by what drives their predictions, at one time of the training; prints as a table.

    Attributes:
        ranked: All recombined examples, the surest first.
        drivers: All possible drivers.
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
