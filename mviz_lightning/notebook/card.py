"""What is shown of a result, whatever shows it: the sentence that matters, diagrams, and rows of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mviz_lightning.plotting.diagrams import Diagram

Cell: TypeAlias = Any
"""A text, a number, True or False; None where there is none."""


@dataclass(frozen=True)
class TidyRows:
    """Rows of numbers and texts, a long table: one observation a row.

    Attributes:
        columns: Names of the columns.
        rows: Cells of each row, in the order of the columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]] = ()

    def with_column(self, name: str, cell: Cell) -> "TidyRows":
        """Return the rows with one more column in front, which holds the same in each row."""
        return TidyRows([name, *self.columns], [[cell, *row] for row in self.rows])


@dataclass(frozen=True)
class Card:
    """What is shown of a result.

    Attributes:
        verdict: The sentence that matters most.
        diagrams: The first is the one that ``plot`` draws.
        frame: The numbers behind it.
        lines: Further lines of text below the verdict.
        notes: What a reader has to know, below everything.
        title: Heading; ``""`` for none.
        parts: Cards of its parts, such as further heads or single examples.
        urgent: Whether the verdict is an alarm.
        table: What a notebook shows in place of the frame, for example with a column for each quantity.
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
        """Return the card under a heading."""
        return replace(self, title=title)


def stacked_rows(frames: Sequence[TidyRows]) -> TidyRows:
    """Return the rows of frames with the same columns as one; without columns where there is no frame."""
    return TidyRows(frames[0].columns, [row for frame in frames for row in frame.rows]) if frames else TidyRows(())
