"""Shows how a multimodal model uses its modalities while it trains. Knows: callbacks."""

from mviz_lightning.batch import Modality
from mviz_lightning.callbacks import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.errors import CollapseWarning, ConfigurationError, MonitorWarning
from mviz_lightning.session.explain import explain
from mviz_lightning.session.share_report import ShareReport

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

__version__ = "0.1.0"
