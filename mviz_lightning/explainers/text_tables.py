"""Tables as text, in columns."""

from collections.abc import Sequence

from mviz_lightning.functional.numerals import fixed

Cells = Sequence[Sequence[str]]


def align(table: Cells) -> str:
    """Return cells as text in columns; the first column is left-aligned, the others are right-aligned."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = (
        [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        for row in table
    )
    return "\n".join("   ".join(line).rstrip() for line in lines)


def format_number(value: float | None, decimals: int = 3) -> str:
    """Return a share or score with three decimals; an empty text for None."""
    return "" if value is None else fixed(value, decimals)
