"""A table in as many columns as the terminal has: side by side, else in blocks that repeat the first column."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mviz_lightning.console.terminal import Line, Span

GAP = "  "
"""Space between two columns."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        cells: A span for each row.
        left: Whether it is aligned to the left, for words; numbers are aligned to the right.
    """

    title: str
    cells: Sequence[Span]
    left: bool = False

    @property
    def width(self) -> int:
        """Number of characters of its widest cell."""
        return max(len(text) for text in (self.title, *(cell.text for cell in self.cells)))

    def laid_out(self) -> list[Span]:
        """Return heading and cells in the column's width."""
        return [self._padded(cell) for cell in (Span(self.title, "heading"), *self.cells)]

    def _padded(self, cell: Span) -> Span:
        text = cell.text.ljust(self.width) if self.left else cell.text.rjust(self.width)
        return Span(text, cell.style)


def table_lines(columns: Sequence[Column], width: int) -> list[Line]:
    """Return a table as lines that fit into the terminal; longer lines only where a single column is too wide.

    Args:
        columns: The columns; the first one names the rows.
        width: Number of columns of the terminal.
    """
    first, *rest = columns
    name = Column(first.title, [Span(_shortened(cell.text, width // 2), cell.style) for cell in first.cells], left=True)
    lines: list[Line] = []
    for block in _blocks(rest, width - name.width):
        rows = zip(*(column.laid_out() for column in (name, *block)), strict=True)
        lines += [[], *(_line(row) for row in rows)]
    return lines[1:]


def _line(cells: Sequence[Span]) -> Line:
    """Return cells side by side, without spaces after the last cell that is not empty."""
    filled = [place for place, cell in enumerate(cells) if cell.text.strip()]
    *kept, last = cells[: filled[-1] + 1]
    return [*(span for cell in kept for span in (cell, Span(GAP))), Span(last.text.rstrip(), last.style)]


def _blocks(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Yield columns that fit side by side."""
    block: list[Column] = []
    for column in columns:
        if block and sum(len(GAP) + one.width for one in (*block, column)) > width:
            yield block
            block = []
        block.append(column)
    yield block


def _shortened(name: str, most: int) -> str:
    """Return a name with up to ``most`` characters: its beginning and its end, which distinguish similar names."""
    if len(name) <= most:
        return name
    kept = max(2, most - 3)
    return f"{name[: kept - kept // 2]}...{name[-(kept // 2) :]}"
