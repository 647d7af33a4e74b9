"""The result of every method: scalars, memory for the next run, and the shown examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True, kw_only=True)
class Result(FromMethod):
    """The result of an explainer at one time of the training; each method adds the fields that it draws.

    Attributes:
        values: Scalars by name. The monitor logs each as ``<name of the explainer>/<name of the scalar>``.
        memory: Plain data for the next run of the same training; stored in checkpoints.
        examples: The shown examples; the sounds of their inputs are written once.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[PredictionRecord] = ()
    _origin: Any = field(default=None, compare=False, repr=False)  # set by a report, for display

    def _card(self) -> "Card":
        from mviz_lightning.explainers.card import result_card

        return result_card(self)
