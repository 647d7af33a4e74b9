"""The position of each modality in a batch; select, join and rebuild rows. Knows: functional, errors."""

from mviz_lightning.batch import adapters as adapters  # which registers them
from mviz_lightning.batch.masking import JointSegments, Maskable, Segmentation, Segments, WordSegments
from mviz_lightning.batch.modality import Modalities, Modality, parse_modalities
from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.registry import register
from mviz_lightning.batch.reservoir import Reservoir
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.errors.deprecations import moved_names

__all__ = [
    "BatchSchema",
    "JointSegments",
    "Maskable",
    "Modalities",
    "Modality",
    "Probe",
    "Reservoir",
    "Segmentation",
    "Segments",
    "WordSegments",
    "parse_modalities",
    "register",
]

MOVED = {
    "Layout": "mviz_lightning.batch.BatchSchema",
    "Units": "mviz_lightning.batch.Segments",
    "WordUnits": "mviz_lightning.batch.WordSegments",
}
"""Old public name -> new name. The next release removes the old names."""

__getattr__ = moved_names(__name__, MOVED)
