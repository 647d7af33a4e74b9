"""Keep the history, write it and draw it."""

import time
from collections.abc import Callable, Sequence
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
    _drawn: int = 0

    def write(self, row: Row) -> None:
        """Add a run."""
        self.history.add(row)
        self._for_each_sink(lambda sink: sink.row(row))

    def draw(self) -> None:
        """Draw the curves of all runs of the training, if there are any."""
        rows = self.history.fitted
        if not self.sinks or len(rows) == self._drawn:
            return
        self._drawn = len(rows)
        started = time.perf_counter()
        image = share_curves(rows, self.history.modalities)
        named = replace(image, key=f"{self.name}/{image.key}")
        self._for_each_sink(lambda sink: sink.image(named, rows[-1].step))
        self._seconds += time.perf_counter() - started

    def _for_each_sink(self, write: Callable[[Sink], None]) -> None:
        """Write to all sinks, then raise what one of them raised."""
        failures = []
        for sink in self.sinks:
            try:
                write(sink)
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def pop_seconds(self) -> float:
        """Return, once, the time that pictures took."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
