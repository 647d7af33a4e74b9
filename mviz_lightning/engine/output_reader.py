"""Read the evaluated numbers from a model's outputs: what it returned for some rows becomes ``(R, C)``."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from mviz_lightning.engine.model_outputs import require_a_row_each, scores
from mviz_lightning.engine.query import Query


class OutputReader(Protocol):
    """Turns what a model returned for a chunk of rows into one vector for each row."""

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, C)``.

        Args:
            outputs: What ``predict`` returned.
            rows: The R rows that it was given. ``rows.read`` holds the example whose positions or region each row
                reads. None, and -1 in it, mean the default of the reader.

        Raises:
            ConfigurationError: There is no such vector for each row.
        """


@dataclass(frozen=True)
class RowReader:
    """Reads outputs that are one row of scores for each example, ``(B, C)`` or ``(B,)``."""

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return the scores, ``(R, C)``."""
        found = scores(outputs)
        require_a_row_each(found, len(rows))
        return found


ROW_READER = RowReader()
"""The reader for most models."""
