"""Maps of total effects in single examples, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class PositionMaps(FromMethod, PredictionRecord):
    """One example, and how much its outputs change at each position when a modality is taken from other examples.

    Attributes:
        effects: ``(M, ...)`` in the shape of the lattice: half the mean squared difference of the outputs, as a share
            of their mean variance.
        labels: ``(...)`` long: the class at each position, -100 without a label; None if labels are not classes.
        decisions: ``(...)`` long: the predicted class at each position; None if outputs are not classes.
        cells: ``(T,)`` long: the entry of the lattice of each position of a sequence; None for maps.
    """

    effects: Tensor
    labels: Tensor | None
    decisions: Tensor | None
    cells: Tensor | None = None

    @property
    def _picture_name(self) -> str:
        return f"example_{self.position}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.position_effects.card import positions_card

        return positions_card(self)


@dataclass(frozen=True, kw_only=True)
class PositionEffectsResult(Result):
    """Maps of total effects at one time of the training.

    Attributes:
        effects: The shown examples.
        modalities: Names of the modalities.
    """

    effects: Sequence[PositionMaps] = ()
    modalities: Sequence[str] = ()

    def _card(self) -> "Card":
        from mviz_lightning.explainers.position_effects.card import effects_card

        return effects_card(self)
