"""Tables as text, in columns."""

from collections.abc import Sequence

from mviz_lightning.functional.numerals import fixed

Cells = Sequence[Sequence[str]]


def align(table: Cells) -> str:
    """Lay cells out in columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = (
        [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        for row in table
    )
    return "\n".join("   ".join(line).rstrip() for line in lines)


def format_number(value: float | None, decimals: int = 3) -> str:
    """Return a share or score with three decimals; nothing where there is none."""
    return "" if value is None else fixed(value, decimals)
