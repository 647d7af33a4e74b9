"""Kinds of modalities: how each is cut into units, masked, named and drawn."""

from mviz_lightning.kinds.audio import Audio
from mviz_lightning.kinds.base import Kind, blocks, fill, kind_of
from mviz_lightning.kinds.image import Image
from mviz_lightning.kinds.regions import Regions
from mviz_lightning.kinds.series import Series
from mviz_lightning.kinds.tabular import Tabular
from mviz_lightning.kinds.text import Text
from mviz_lightning.kinds.video import Video

__all__ = ["Audio", "Image", "Kind", "Regions", "Series", "Tabular", "Text", "Video", "blocks", "fill", "kind_of"]
