"""The types of modalities under their public name. Knows: modalities."""

from mviz_lightning.modalities import (
    Audio,
    Image,
    ModalityType,
    Regions,
    Series,
    Tabular,
    Text,
    Video,
    blocks,
    fill,
)

Kind = ModalityType

__all__ = ["Audio", "Image", "Kind", "ModalityType", "Regions", "Series", "Tabular", "Text", "Video", "blocks", "fill"]
