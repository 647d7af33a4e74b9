"""Methods, one folder each: which rows to request, and what their outputs tell. Knows: collapse, engine."""

from mviz_lightning.explainers.base import Explainer, Fallback, ProbeContext, Request, Responses, Result
from mviz_lightning.explainers.contribution_shares.explainer import Shares
from mviz_lightning.explainers.cross_modal_interaction.explainer import CrossModalInteraction
from mviz_lightning.explainers.dime.explainer import DIME
from mviz_lightning.explainers.dime.result import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.error_analysis.explainer import ErrorAnalysis
from mviz_lightning.explainers.multimodal_prediction.explainer import MultimodalPrediction
from mviz_lightning.explainers.multimodal_representation.explainer import MultimodalRepresentation
from mviz_lightning.explainers.unimodal_importance.explainer import UnimodalImportance

__all__ = [
    "DIME",
    "Attribution",
    "CrossModalInteraction",
    "ErrorAnalysis",
    "Explainer",
    "Explanation",
    "Fallback",
    "MultimodalPrediction",
    "MultimodalRepresentation",
    "OutputExplanation",
    "ProbeContext",
    "Request",
    "Responses",
    "Result",
    "Shares",
    "UnimodalImportance",
]
