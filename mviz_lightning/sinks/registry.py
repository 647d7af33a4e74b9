"""The sink of each logger class: built-in sinks, and sinks that users register."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.sinks.base import LoggerSink, Sink
from mviz_lightning.sinks.comet import CometSink
from mviz_lightning.sinks.files import FileSink
from mviz_lightning.sinks.mlflow import MLflowSink
from mviz_lightning.sinks.records import Dashboard
from mviz_lightning.sinks.swanlab import SwanLabSink
from mviz_lightning.sinks.tensorboard import TensorBoardSink
from mviz_lightning.sinks.trackio import TrackioSink
from mviz_lightning.sinks.wandb import WandbSink

SinkFactory: TypeAlias = Callable[[Any], Sink]
"""A function from a logger to its sink, for example the sink's class."""

SINK_TYPES: dict[str, SinkFactory] = {
    "CometLogger": CometSink,
    "MLFlowLogger": MLflowSink,
    "SwanLabLogger": SwanLabSink,
    "TensorBoardLogger": TensorBoardSink,
    "TrackioLogger": TrackioSink,
    "WandbLogger": WandbSink,
}
"""Built-in sinks by the name of the logger's class."""

_registered: dict[str, SinkFactory] = {}
"""Sinks from :func:`register`, by the name of the logger's class."""


def register(name: str, factory: SinkFactory) -> None:
    """Make the monitor write pictures, tables and texts to loggers of a class.

    A registration also applies to subclasses, and takes precedence over a built-in sink. A second registration of
    a name replaces the first; :func:`unregister` removes it.

    Args:
        name: Name of the logger's class, ``"TensorBoardLogger"``, without its module.
        factory: A function from the logger to its sink, for example a subclass of :class:`LoggerSink`.

    Raises:
        ConfigurationError: ``name`` is not the name of a class, or ``factory`` is not callable.

    Example:
        >>> from mviz_lightning.sinks import LoggerSink, register, sinks_for, unregister
        >>> class PrintingLogger:
        ...     pass
        >>> class PrintingSink(LoggerSink):
        ...     def text(self, key, record, step):
        ...         print(key, record.markdown)
        >>> register("PrintingLogger", PrintingSink)
        >>> [type(sink).__name__ for sink in sinks_for([PrintingLogger()], "runs")]
        ['FileSink', 'PrintingSink']
        >>> unregister("PrintingLogger")
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise ConfigurationError(
            f"sinks.register(name={name!r}): give the name of the logger's class without its module, for example "
            "'TensorBoardLogger'."
        )
    if not callable(factory):
        raise ConfigurationError(
            f"sinks.register(factory={factory!r}): give a function from a logger to its sink, such as a subclass of "
            "mviz_lightning.sinks.LoggerSink."
        )
    _registered[name] = factory


def unregister(name: str) -> None:
    """Remove the sink of :func:`register` for a class of loggers; a built-in sink is used again.

    Raises:
        ConfigurationError: Nothing is registered under this name.
    """
    if name not in _registered:
        known = ", ".join(map(repr, _registered)) or "nothing"
        raise ConfigurationError(f"sinks.unregister(name={name!r}): registered is {known}; give one of these names.")
    del _registered[name]


def sinks_for(loggers: Iterable[Any], folder: Path) -> list[Sink]:
    """Return a file sink, and a sink for every logger whose class has one.

    The class name of a logger decides: ``lightning`` and ``pytorch_lightning`` each have their own classes.

    Args:
        loggers: Loggers of the trainer, of any class. Only their class is read.
        folder: Folder of the file sink.
    """
    made = [_sink_of(logger) for logger in loggers]
    return [FileSink(folder), *(sink for sink in made if sink is not None)]


def _sink_of(logger: Any) -> Sink | None:
    """Return the sink of a logger; None without one. If it cannot be created, return a sink that raises when opened."""
    names = [base.__name__ for base in type(logger).__mro__]  # Fabric's logger, a base class, has the same name
    makes = (known[name] for known in (_registered, SINK_TYPES) for name in names if name in known)
    make = next(makes, None)
    try:
        return None if make is None else make(logger)
    except Exception as error:
        return _FailedSink(error)


class _FailedSink(LoggerSink):
    """Replaces a sink that could not be created, so that its error is reported like other errors of a logger.

    Args:
        error: The error of the factory.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(None)
        self._error = error

    def open(self, dashboard: Dashboard) -> None:
        """Raise the error.

        Raises:
            Exception: The error of the factory.
        """
        raise self._error
