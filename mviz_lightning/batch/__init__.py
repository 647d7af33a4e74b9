"""Where each modality lives in a batch; how rows are taken, joined and rebuilt. Knows: functional, errors."""

from mviz_lightning.batch.masking import Maskable, Segments, WordSegments
from mviz_lightning.batch.modality import Modalities, Modality, parse_modalities
from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.reservoir import Reservoir
from mviz_lightning.batch.schema import BatchSchema

__all__ = [
    "BatchSchema",
    "Maskable",
    "Modalities",
    "Modality",
    "Probe",
    "Reservoir",
    "Segments",
    "WordSegments",
    "parse_modalities",
]
