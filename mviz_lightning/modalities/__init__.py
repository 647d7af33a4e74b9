"""Types of modalities: how each is segmented, masked, named and drawn. Knows: batch, plotting."""

from mviz_lightning.modalities.audio import Audio
from mviz_lightning.modalities.base import ModalityType, blocks, fill, modality_type_of
from mviz_lightning.modalities.image import Image
from mviz_lightning.modalities.regions import Regions
from mviz_lightning.modalities.series import Series
from mviz_lightning.modalities.tabular import Tabular
from mviz_lightning.modalities.text import Text
from mviz_lightning.modalities.video import Video

__all__ = [
    "Audio",
    "Image",
    "ModalityType",
    "Regions",
    "Series",
    "Tabular",
    "Text",
    "Video",
    "blocks",
    "fill",
    "modality_type_of",
]
