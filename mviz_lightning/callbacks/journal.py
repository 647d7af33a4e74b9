"""Keep the history, write it and draw it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mviz_lightning.history import History
from mviz_lightning.records import Row
from mviz_lightning.rendering import share_curves
from mviz_lightning.sinks import Sink


@dataclass
class Journal:
    """Writes runs and pictures to the sinks; on processes without sinks it only keeps the history.

    Attributes:
        history: All runs so far.
        name: Prefix of the pictures' keys.
        sinks: Where records go.
    """

    history: History
    name: str
    sinks: Sequence[Sink]
    _seconds: float = 0.0

    def write(self, row: Row) -> None:
        """Add a run."""
        self.history.add(row)
        for sink in self.sinks:
            sink.row(row)

    def draw(self) -> None:
        """Draw the curves of all runs of the training, if there are any."""
        rows = self.history.fitted
        if not rows or not self.sinks:
            return
        started = time.perf_counter()
        image = share_curves(rows, self.history.modalities)
        for sink in self.sinks:
            sink.image(replace(image, key=f"{self.name}/{image.key}"), rows[-1].step)
        self._seconds += time.perf_counter() - started

    def pop_seconds(self) -> float:
        """Return, once, the time that pictures took."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
