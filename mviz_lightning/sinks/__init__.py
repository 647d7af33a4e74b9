"""Write records to loggers and files."""

from mviz_lightning.sinks.base import Sink, TensorBoardSink, WandbSink, sinks_for
from mviz_lightning.sinks.files import FileSink

__all__ = ["FileSink", "Sink", "TensorBoardSink", "WandbSink", "sinks_for"]
