"""One file per modality type: its segments, masking, names, raw-input features and drawing. Knows: batch, plotting."""

from mviz_lightning.modalities.audio import Audio
from mviz_lightning.modalities.base import ModalityType, modality_type_of
from mviz_lightning.modalities.graph import Graph
from mviz_lightning.modalities.image import Image
from mviz_lightning.modalities.patches import Patches
from mviz_lightning.modalities.pictures import Pictures
from mviz_lightning.modalities.regions import Regions
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.series import Series
from mviz_lightning.modalities.sounds import Sounds
from mviz_lightning.modalities.tabular import Tabular
from mviz_lightning.modalities.text import Text
from mviz_lightning.modalities.typical_values import fill
from mviz_lightning.modalities.video import Video

__all__ = [
    "Audio",
    "Graph",
    "Image",
    "ModalityType",
    "Patches",
    "Pictures",
    "Regions",
    "Series",
    "Sounds",
    "Tabular",
    "Text",
    "Video",
    "blocks",
    "fill",
    "modality_type_of",
]
