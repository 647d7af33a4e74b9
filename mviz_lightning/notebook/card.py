"""Cards: the content of a result's display, as one main sentence, diagrams, and rows of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mviz_lightning.plotting.diagrams import Diagram

Cell: TypeAlias = Any
"""A text, a number, True or False; None if it is missing."""


@dataclass(frozen=True)
class TidyRows:
    """Rows of numbers and texts in a long table, with one observation per row.

    Attributes:
        columns: Names of the columns.
        rows: Cells of each row, in the order of the columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]] = ()

    def with_column(self, name: str, cell: Cell) -> "TidyRows":
        """Return the rows with a further first column, which has the same cell in each row."""
        return TidyRows([name, *self.columns], [[cell, *row] for row in self.rows])


@dataclass(frozen=True)
class Card:
    """The content of a result's display.

    Attributes:
        verdict: The main sentence.
        diagrams: The diagrams; ``plot`` draws the first one.
        frame: The numbers behind the sentence and the diagrams.
        lines: Further lines of text below the verdict.
        notes: Remarks for the reader, below everything else.
        title: Heading; ``""`` for none.
        parts: Cards of its parts, such as further heads or single examples.
        urgent: Whether the verdict is an alarm.
        table: Rows that a notebook shows instead of the frame, for example with a column for each quantity.
    """

    verdict: str
    diagrams: Sequence[Diagram] = ()
    frame: TidyRows = TidyRows(())
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()
    title: str = ""
    parts: Sequence["Card"] = ()
    urgent: bool = False
    table: TidyRows | None = None

    def titled(self, title: str) -> "Card":
        """Return the card with a heading."""
        return replace(self, title=title)


def stacked_rows(frames: Sequence[TidyRows]) -> TidyRows:
    """Return the rows of all frames, which have the same columns, as one frame; without columns if there are none."""
    return TidyRows(frames[0].columns, [row for frame in frames for row in frame.rows]) if frames else TidyRows(())
