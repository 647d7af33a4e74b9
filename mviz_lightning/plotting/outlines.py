"""Outlines of regions over pictures."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIMILAR = 0.03
"""Largest relative difference of the aspects of a picture and a map of the same scene."""

SHARP = 256
"""Number of parts that the longer side of a coarse mask is cut into, so that its outline follows the pixels."""

LINES = (("white", 2.4), ("#D55E00", 1.2))
"""Colour and width of the lines of an outline, the wider one below: it is seen on any picture."""


def draw_outline(panel: "Axes", mask: npt.NDArray[np.bool_]) -> None:
    """Draw the outline of a mask ``(H, W)`` over the last picture of a panel, if that has the same aspect."""
    left, right, bottom, top = panel.images[-1].get_extent()
    height, width = mask.shape
    if abs(abs(bottom - top) * width - abs(right - left) * height) > SIMILAR * abs(right - left) * height:
        return
    limits: Any = panel.get_xlim(), panel.get_ylim()
    sharp = max(1, SHARP // max(mask.shape))
    mask = mask.repeat(sharp, 0).repeat(sharp, 1)
    height, width = mask.shape
    around = np.pad(mask, 1).astype(float)
    columns = left + (np.arange(width + 2) - 0.5) * (right - left) / width
    rows = top + (np.arange(height + 2) - 0.5) * (bottom - top) / height
    for colour, line in LINES:
        panel.contour(columns, rows, around, levels=[0.5], colors=[colour], linewidths=line)
    panel.set_xlim(limits[0])
    panel.set_ylim(limits[1])
