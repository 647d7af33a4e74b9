"""The error analysis, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.plain import Brief
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card

Counts: TypeAlias = Mapping[str, int]
"""Category -> number of decisions."""


@dataclass(frozen=True)
class ClassErrors(Brief):
    """The decisions of one class, label or output, or of a quarter of the targets.

    Attributes:
        index: Index of the class, the output or the quarter.
        counts: Number of decisions in each category.
        between: The smallest and the largest target of a quarter.
    """

    index: int
    counts: Counts
    between: tuple[float, float] | None = None


@dataclass(frozen=True)
class Case(FromMethod, PredictionRecord):
    """A decision, shown with the inputs of its example.

    Attributes:
        alone: Prediction of the unimodal contributions alone.
        output: The true class; or the label or value of this decision.
        value: The output; for mutually exclusive classes, centred over the classes.
        unimodal: Its unimodal contribution, UC.
        interaction: Its multimodal interaction, MI; both add up to the value.
        error: Standard error of UC and of MI.
        category: Category of the decision.
        loss: Cross-entropy; in a regression, the absolute error.
    """

    alone: Any
    output: int
    value: float
    unimodal: float
    interaction: float
    error: float
    category: str
    loss: float

    @property
    def _picture_name(self) -> None:
        return None

    def _card(self) -> "Card":
        from mviz_lightning.explainers.error_analysis.card import case_card

        return case_card(self)


@dataclass(frozen=True, kw_only=True)
class ErrorResult(Result):
    """The error analysis at one time of the training.

    Attributes:
        counts: Categories of all decisions.
        classes: Categories of each class; classes without examples are left out.
        worst: The mistakes with the largest loss, the worst first; in a regression, the values with the largest error.
        rescued: Decisions that the interaction corrected, or values whose error it lowered; the largest gain first.
        history: Epoch, step and counts of the runs of the training so far, this one last; in a long training some runs
            in between are dropped.
    """

    counts: Counts
    classes: Sequence[ClassErrors]
    worst: Sequence[Case]
    rescued: Sequence[Case]
    history: Sequence[tuple[int, int, Counts]]

    def _card(self) -> "Card":
        from mviz_lightning.explainers.error_analysis.card import errors_card

        return errors_card(self)
