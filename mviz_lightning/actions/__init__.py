"""Actions while a modality is collapsed; they are undone when the alarm ends. Knows: modalities, errors."""

from mviz_lightning.actions.base import Action, Alarms
from mviz_lightning.actions.encoder_learning_rate import EncoderLearningRate
from mviz_lightning.actions.gradient_modulation import GradientModulation
from mviz_lightning.actions.modality_dropout import ModalityDropout
from mviz_lightning.actions.save_checkpoint import SaveCheckpoint
from mviz_lightning.actions.stop_training import StopTraining

__all__ = [
    "Action",
    "Alarms",
    "EncoderLearningRate",
    "GradientModulation",
    "ModalityDropout",
    "SaveCheckpoint",
    "StopTraining",
]
