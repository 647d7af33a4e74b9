"""The types of modalities under their public name. Knows: modalities, errors."""

from mviz_lightning.errors.deprecations import moved_names
from mviz_lightning.modalities import (
    Audio,
    Graph,
    Image,
    ModalityType,
    Patches,
    Pictures,
    Regions,
    Series,
    Sounds,
    Tabular,
    Text,
    Video,
    blocks,
    fill,
)

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
]

MOVED = {
    "Kind": "mviz_lightning.kinds.ModalityType",
    "kind_of": "mviz_lightning.modalities.modality_type_of",
}
"""Old public name -> new name. The next release removes the old names."""

__getattr__ = moved_names(__name__, MOVED)
