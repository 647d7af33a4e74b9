"""Where records are written: one adapter for each logger, and files. Knows: errors."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mviz_lightning.sinks.base import Sink, SinkError
from mviz_lightning.sinks.files import FileSink
from mviz_lightning.sinks.tensorboard import TensorBoardSink
from mviz_lightning.sinks.wandb import WandbSink

__all__ = ["FileSink", "Sink", "SinkError", "TensorBoardSink", "WandbSink", "sinks_for"]

KINDS: dict[str, Callable[[Any], Sink]] = {"TensorBoardLogger": TensorBoardSink, "WandbLogger": WandbSink}


def sinks_for(loggers: Iterable[Any], folder: Path) -> list[Sink]:
    """Return a sink for every logger that takes pictures, and the files.

    Loggers are told by the names of their classes: the two packages of Lightning have classes of their own.

    Args:
        loggers: Of the trainer, any kind; asked for nothing yet.
        folder: For the files.
    """
    found: list[Sink] = [FileSink(folder)]
    for logger in loggers:
        names = {kind.__name__ for kind in type(logger).__mro__}  # Fabric's logger, the base, has the same name
        found += [make(logger) for name, make in KINDS.items() if name in names]
    return found
