"""Numbered cells: parts whose places may not or cannot be shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mviz_lightning.plotting.lettering import on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS = 9
"""In a row."""


def cells_aspect(count: int) -> float:
    """Return the height of so many cells, in widths."""
    return 0.12 * -(-count // CELLS)


def draw_cells(axes: "Axes", count: int, numbered: Sequence[int], faces: npt.NDArray[Any]) -> None:
    """Draw cells in rows, some of them with their numbers and in colours.

    Args:
        axes: An empty panel.
        count: Cells.
        numbered: Which of them bear numbers.
        faces: ``(len(numbered), 3 or 4)`` their colours.
    """
    columns, rows = max(1, min(count, CELLS)), -(-count // CELLS)
    cells = np.full((rows * columns, 3), 0.95)
    cells[count:] = 1
    cells[list(numbered)] = faces[:, :3]
    picture, place = cells.reshape(rows, columns, 3), (0, columns, rows, 0)
    axes.imshow(picture, extent=place, aspect="auto", interpolation="nearest")
    for cell in numbered:
        x, y = cell % columns + 0.5, cell // columns + 0.5
        write(axes, x, y, f"{cell + 1}", ha="center", va="center_baseline", color=on(cells[cell]))
