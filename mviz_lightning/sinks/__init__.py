"""One adapter per logger, and one for plain files: they write the monitor's records. Knows: errors."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mviz_lightning.sinks.base import Sink, SinkError
from mviz_lightning.sinks.files import FileSink
from mviz_lightning.sinks.tensorboard import TensorBoardSink
from mviz_lightning.sinks.wandb import WandbSink

__all__ = ["FileSink", "Sink", "SinkError", "TensorBoardSink", "WandbSink", "sinks_for"]

SINK_TYPES: dict[str, Callable[[Any], Sink]] = {"TensorBoardLogger": TensorBoardSink, "WandbLogger": WandbSink}
"""Sinks by the name of the logger's class."""


def sinks_for(loggers: Iterable[Any], folder: Path) -> list[Sink]:
    """Return a file sink, and a sink for every logger that takes pictures (TensorBoard, Weights & Biases).

    The class name of a logger decides: ``lightning`` and ``pytorch_lightning`` each have their own classes.

    Args:
        loggers: Loggers of the trainer, of any class. Nothing is read from them yet.
        folder: Folder of the file sink.
    """
    found: list[Sink] = [FileSink(folder)]
    for logger in loggers:
        names = {base.__name__ for base in type(logger).__mro__}  # Fabric's logger, a base class, has the same name
        found += [make(logger) for name, make in SINK_TYPES.items() if name in names]
    return found
