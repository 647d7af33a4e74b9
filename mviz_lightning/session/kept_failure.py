"""An error of one process, kept until all processes meet."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mviz_lightning.batch.unreadable import readable
from mviz_lightning.engine.processes import Ranks


class KeptFailure:
    """Keeps the last error of some blocks, which may fail on one process alone.

    Attributes:
        error: The error; None if there was none.
    """

    error: Exception | None = None

    def forget(self) -> None:
        """Drop the error."""
        self.error = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error of the block."""
        try:
            yield
        except Exception as error:
            self.error = error

    @contextmanager
    def kept_of(self, batch: Any) -> Iterator[None]:
        """Keep an error of the block, which reads a batch; an error that is raised inside names the batch."""
        with self.kept(), readable(batch):
            yield

    def raise_on_all_ranks(self, ranks: Ranks) -> None:
        """Raise, on all processes, an error that any of them has kept; all must call this."""
        error, self.error = self.error, None
        with ranks.raise_on_all_ranks():
            if error is not None:
                raise error
