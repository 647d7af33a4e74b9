"""Where records go; the only folder that knows TensorBoard, W&B and files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from mviz_lightning.records import Image, Row
from mviz_lightning.sinks.files import FileSink


class Sink(Protocol):
    """Takes records; keys come with the monitor's prefix."""

    def image(self, image: Image, step: int) -> None:
        """Write a picture at the loggers' x-axis."""

    def row(self, row: Row) -> None:
        """Write a run's values; loggers get them from the trainer already."""


class TensorBoardSink:
    """Pictures for a ``TensorBoardLogger`` of either namespace.

    Args:
        logger: The logger; its writer is used.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def image(self, image: Image, step: int) -> None:
        """Write a picture."""
        self._logger.experiment.add_image(image.key, image.pixels, step, dataformats="HWC")

    def row(self, row: Row) -> None:
        """Leave scalars to the trainer."""


class WandbSink:
    """Pictures for a ``WandbLogger`` of either namespace.

    Args:
        logger: The logger; through it rather than the run, whose own step would drop the picture.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def image(self, image: Image, step: int) -> None:
        """Write a picture."""
        self._logger.log_image(image.key, [image.pixels], step=step, caption=[image.caption])

    def row(self, row: Row) -> None:
        """Leave scalars to the trainer."""


KINDS: dict[str, Any] = {"TensorBoardLogger": TensorBoardSink, "WandbLogger": WandbSink}


def sinks_for(loggers: Iterable[Any], folder: Path) -> list[Sink]:
    """Return a sink for every logger that takes pictures, and the files.

    Loggers are told by the names of their classes: the two packages of Lightning have classes of their own.

    Args:
        loggers: Of the trainer, any kind.
        folder: For the files.
    """
    found: list[Sink] = [FileSink(folder)]
    for logger in loggers:
        names = [kind.__name__ for kind in type(logger).__mro__]
        found += [KINDS[name](logger) for name in names if name in KINDS]
    return found
