"""One adapter per logger, and one for plain files: they write the monitor's records. Knows: errors."""

from mviz_lightning.sinks.base import LoggerSink, Sink, SinkError
from mviz_lightning.sinks.files import FileSink
from mviz_lightning.sinks.registry import register, sinks_for, unregister
from mviz_lightning.sinks.tensorboard import TensorBoardSink
from mviz_lightning.sinks.wandb import WandbSink

__all__ = [
    "FileSink",
    "LoggerSink",
    "Sink",
    "SinkError",
    "TensorBoardSink",
    "WandbSink",
    "register",
    "sinks_for",
    "unregister",
]
