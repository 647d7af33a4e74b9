"""Watch how a multimodal model uses its modalities, while it trains."""

from mviz_lightning.analysis import ShareReport, explain
from mviz_lightning.batch import Modality
from mviz_lightning.callbacks import MultimodalMonitor
from mviz_lightning.errors import ConfigurationError, MonitorWarning

__all__ = ["ConfigurationError", "Modality", "MonitorWarning", "MultimodalMonitor", "ShareReport", "explain"]
