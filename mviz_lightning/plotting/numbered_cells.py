"""Numbered cells: segments whose places are unknown, or must not be shown (``inputs=False``)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mviz_lightning.plotting.text_fitting import text_colour_on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS_PER_ROW = 9
"""Cells in a row."""


def cells_aspect(count: int) -> float:
    """Return height over width of ``count`` cells."""
    return 0.12 * -(-count // CELLS_PER_ROW)


def draw_cells(axes: "Axes", count: int, numbered: Sequence[int], faces: npt.NDArray[Any]) -> None:
    """Draw cells in rows, some of them with a number and a colour.

    Args:
        axes: An empty panel.
        count: Number of cells.
        numbered: Indices of the cells with a number and a colour.
        faces: ``(len(numbered), 3 or 4)``: colours of these cells, in 0..1.
    """
    columns, rows = max(1, min(count, CELLS_PER_ROW)), -(-count // CELLS_PER_ROW)
    cells = np.full((rows * columns, 3), 0.95)
    cells[count:] = 1
    cells[list(numbered)] = faces[:, :3]
    picture, place = cells.reshape(rows, columns, 3), (0, columns, rows, 0)
    axes.imshow(picture, extent=place, aspect="auto", interpolation="nearest")
    for cell in numbered:
        x, y = cell % columns + 0.5, cell // columns + 0.5
        write(axes, x, y, f"{cell + 1}", ha="center", va="center_baseline", color=text_colour_on(cells[cell]))
