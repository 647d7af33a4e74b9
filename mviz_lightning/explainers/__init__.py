"""Methods, one folder each: which rows to request, and what their outputs tell. Knows: collapse, engine."""

from typing import TypeAlias

from mviz_lightning.errors import moved_names
from mviz_lightning.explainers.base import Explainer, ProbeContext
from mviz_lightning.explainers.contribution_shares.explainer import Shares
from mviz_lightning.explainers.cross_modal_interaction.explainer import CrossModalInteraction
from mviz_lightning.explainers.dime.explainer import DIME
from mviz_lightning.explainers.dime.result import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.error_analysis.explainer import ErrorAnalysis
from mviz_lightning.explainers.multimodal_prediction.explainer import MultimodalPrediction
from mviz_lightning.explainers.multimodal_representation.explainer import MultimodalRepresentation
from mviz_lightning.explainers.survey import Request, Responses, Result, Survey
from mviz_lightning.explainers.unimodal_importance.explainer import UnimodalImportance

Method: TypeAlias = Explainer | Survey
"""What the monitor runs beside the shares."""

__all__ = [
    "DIME",
    "Attribution",
    "CrossModalInteraction",
    "ErrorAnalysis",
    "Explainer",
    "Explanation",
    "Method",
    "MultimodalPrediction",
    "MultimodalRepresentation",
    "OutputExplanation",
    "ProbeContext",
    "Request",
    "Responses",
    "Result",
    "Shares",
    "Survey",
    "UnimodalImportance",
]

MOVED = {
    "Answers": "mviz_lightning.explainers.Responses",
    "Asked": "mviz_lightning.explainers.Request",
    "Finding": "mviz_lightning.explainers.Result",
    "Subject": "mviz_lightning.explainers.ProbeContext",
}
"""Old public name -> new place; the old names go with the next release."""

__getattr__ = moved_names(__name__, MOVED)
