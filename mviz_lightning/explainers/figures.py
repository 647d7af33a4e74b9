"""How results are drawn: importing a method's figure registers it."""

from mviz_lightning.explainers.cross_modal_interaction import figure as _cross_modal_interaction
from mviz_lightning.explainers.drawing import records_of
from mviz_lightning.explainers.error_analysis import figure as _error_analysis
from mviz_lightning.explainers.multimodal_prediction import figure as _multimodal_prediction
from mviz_lightning.explainers.multimodal_representation import figure as _multimodal_representation
from mviz_lightning.explainers.unimodal_importance import figure as _unimodal_importance

__all__ = ["records_of"]
