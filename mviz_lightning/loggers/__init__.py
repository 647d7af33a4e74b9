"""A Lightning logger for Trackio, which has none of its own. Knows: nothing."""

from mviz_lightning.loggers.trackio import TrackioLogger

__all__ = ["TrackioLogger"]
