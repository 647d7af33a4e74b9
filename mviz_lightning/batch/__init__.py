"""Where each modality lives in a batch, and how rows are taken, recombined and masked."""

from mviz_lightning.batch.layout import Layout
from mviz_lightning.batch.masking import Maskable, Units, WordUnits
from mviz_lightning.batch.modality import Modalities, Modality, parse_modalities
from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.reservoir import Reservoir

__all__ = [
    "Layout",
    "Maskable",
    "Modalities",
    "Modality",
    "Probe",
    "Reservoir",
    "Units",
    "WordUnits",
    "parse_modalities",
]
