"""Hooks that decide and delegate."""

from mviz_lightning.callbacks.collapse import UnimodalCollapse
from mviz_lightning.callbacks.monitor import MultimodalMonitor

__all__ = ["MultimodalMonitor", "UnimodalCollapse"]
