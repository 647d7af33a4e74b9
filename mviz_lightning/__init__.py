"""Watch how a multimodal model uses its modalities, while it trains."""

from mviz_lightning.analysis import ShareReport, explain
from mviz_lightning.batch import Modality
from mviz_lightning.callbacks import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.errors import CollapseWarning, ConfigurationError, MonitorWarning

__all__ = [
    "CollapseWarning",
    "ConfigurationError",
    "Modality",
    "MonitorWarning",
    "MultimodalMonitor",
    "ShareReport",
    "UnimodalCollapse",
    "explain",
]
