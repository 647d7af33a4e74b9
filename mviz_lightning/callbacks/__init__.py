"""The room that knows the Trainer: hooks decide when, and delegate. Knows: session, actions, console, report."""

from mviz_lightning.callbacks.multimodal_monitor import MultimodalMonitor
from mviz_lightning.callbacks.unimodal_collapse import UnimodalCollapse

__all__ = ["MultimodalMonitor", "UnimodalCollapse"]
