"""Methods: each plans the rows it needs and explains the outputs it gets."""

from typing import TypeAlias

from mviz_lightning.explainers.base import Explainer, Subject
from mviz_lightning.explainers.cross_modal import CrossModalInteraction
from mviz_lightning.explainers.dime import DIME
from mviz_lightning.explainers.errors import ErrorAnalysis
from mviz_lightning.explainers.explanation import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.importance import UnimodalImportance
from mviz_lightning.explainers.prediction import MultimodalPrediction
from mviz_lightning.explainers.representation import MultimodalRepresentation
from mviz_lightning.explainers.shares import Shares
from mviz_lightning.explainers.survey import Answers, Asked, Finding, Survey

Method: TypeAlias = Explainer | Survey
"""What the monitor runs beside the shares."""

__all__ = [
    "DIME",
    "Answers",
    "Asked",
    "Attribution",
    "CrossModalInteraction",
    "ErrorAnalysis",
    "Explainer",
    "Explanation",
    "Finding",
    "Method",
    "MultimodalPrediction",
    "MultimodalRepresentation",
    "OutputExplanation",
    "Shares",
    "Subject",
    "Survey",
    "UnimodalImportance",
]
