"""Methods, one folder each: the rows that they request, and the interpretation of outputs. Knows: collapse, engine."""

from typing import TYPE_CHECKING

from mviz_lightning.errors.deprecations import moved_names
from mviz_lightning.explainers.base import Explainer, Fallback, ProbeContext, Request, Responses
from mviz_lightning.explainers.contribution_shares.explainer import Shares
from mviz_lightning.explainers.cross_modal_interaction.explainer import CrossModalInteraction
from mviz_lightning.explainers.dime.explainer import DIME
from mviz_lightning.explainers.dime.result import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.error_analysis.explainer import ErrorAnalysis
from mviz_lightning.explainers.example_ranking.explainer import ExampleRanking
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.multimodal_prediction.explainer import MultimodalPrediction
from mviz_lightning.explainers.multimodal_representation.explainer import MultimodalRepresentation
from mviz_lightning.explainers.position_effects.explainer import PositionEffects
from mviz_lightning.explainers.unimodal_importance.explainer import UnimodalImportance

__all__ = [
    "DIME",
    "Attribution",
    "CrossModalInteraction",
    "ErrorAnalysis",
    "ExampleRanking",
    "Explainer",
    "Explanation",
    "Fallback",
    "MultimodalPrediction",
    "MultimodalRepresentation",
    "OutputExplanation",
    "PositionEffects",
    "ProbeContext",
    "Request",
    "Responses",
    "Result",
    "Shares",
    "UnimodalImportance",
]

MOVED = {
    "Answers": "mviz_lightning.explainers.Responses",
    "Asked": "mviz_lightning.explainers.Request",
    "Finding": "mviz_lightning.explainers.Result",
    "Method": "mviz_lightning.explainers.Explainer",
    "Subject": "mviz_lightning.explainers.ProbeContext",
    "Survey": "mviz_lightning.explainers.Explainer",
}
"""Old public name -> new name. The next release removes the old names."""

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__ = moved_names(__name__, MOVED)
