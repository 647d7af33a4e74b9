"""Graphs as nodes and the lines between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mviz_lightning.plotting.text_fitting import GREY, text_colour_on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RADIUS = (2.0, 8.5)
"""Smallest and largest radius of a node in pixels: a number of two digits fits into the largest."""

OF_EDGE, OF_ROOM = 0.42, 0.3
"""Largest radius of a node: as a fraction of the length of an edge, and of the side of a square that is its own."""

RADIUS_OF_NUMBERS = 6.0
"""Smallest radius in pixels with room for a number; numbers of smaller nodes bring their own ground."""

EDGE_COLOUR, INNER_EDGE_COLOUR = "#b8b8b8", "#707070"
"""Edges, and edges within one segment of several nodes."""

OUTLINE_COLOUR = "#707070"
"""Outlines of nodes: a weight of 0 is as white as the panel."""


def draw_node_link(
    axes: "Axes",
    places: npt.NDArray[Any],
    edges: npt.NDArray[Any],
    faces: npt.NDArray[Any],
    words: Sequence[str],
    inner: npt.NDArray[Any] | None = None,
) -> None:
    """Draw a graph into an empty panel.

    Args:
        axes: The panel.
        places: ``(nodes, 2)`` in 0..1 from the top left; the wider side is 1.
        edges: ``(2, E)`` the two nodes of every edge.
        faces: ``(nodes, 3 or 4)``: colours of the nodes, in 0..1.
        words: Text on every node, often empty.
        inner: ``(E,)`` boolean: edges to draw darker. None for none.
    """
    if not len(places):
        write(axes, 0.5, 0.5, "(no nodes)", ha="center", va="center_baseline", color=GREY, transform=axes.transAxes)
        return
    pixel, lines = _set_limits(axes, places), places[edges.T]
    radius = _radius(axes, len(places), lines, pixel)
    _draw_edges(axes, lines, np.zeros(len(lines), dtype=bool) if inner is None else inner)
    _draw_nodes(axes, places, faces, radius * 72 / axes.figure.dpi)
    for (x, y), face, text in zip(places, faces, words, strict=True):
        back = {} if radius >= RADIUS_OF_NUMBERS else {"back": face}
        style = {"ha": "center", "va": "center_baseline", "color": text_colour_on(face), "zorder": 4, **back}
        if text:
            write(axes, x, y, text, **style)


def _set_limits(axes: "Axes", places: npt.NDArray[Any]) -> float:
    """Put the graph into the middle of the panel, as large as it fits; return the size of a pixel."""
    panel, (width, height) = axes.get_window_extent(), np.ptp(places, axis=0)
    border = 2 * RADIUS[1] + 4
    pixel = max(width / max(panel.width - border, 1), height / max(panel.height - border, 1), 1e-3)
    (x, y), half = (places.max(0) + places.min(0)) / 2, (pixel * panel.width / 2, pixel * panel.height / 2)
    axes.set(xlim=(x - half[0], x + half[0]), ylim=(y + half[1], y - half[1]))
    return float(pixel)


def _radius(axes: "Axes", nodes: int, lines: npt.NDArray[Any], pixel: float) -> float:
    """Return the radius of a node in pixels, such that most nodes do not touch."""
    panel, lengths = axes.get_window_extent(), np.linalg.norm(lines[:, 0] - lines[:, 1], axis=1) / pixel
    edge = np.quantile(lengths, 0.3) if len(lengths) else np.inf
    room = np.sqrt(panel.width * panel.height / nodes)
    return float(np.clip(min(OF_EDGE * edge, OF_ROOM * room), *RADIUS))


def _draw_nodes(axes: "Axes", places: npt.NDArray[Any], faces: npt.NDArray[Any], points: float) -> None:
    """Draw the nodes, the darkest on top: weak weights are pale."""
    order = np.argsort(-faces[:, :3].sum(1), kind="stable")
    style: dict[str, Any] = {"edgecolors": OUTLINE_COLOUR, "linewidths": min(0.6, points / 5), "zorder": 3}
    x, y = places[order].T
    axes.scatter(x, y, (2 * points) ** 2, c=faces[order], **style)


def _draw_edges(axes: "Axes", lines: npt.NDArray[Any], inner: npt.NDArray[Any]) -> None:
    from matplotlib.collections import LineCollection

    thin = 0.9 if len(lines) <= 300 else 0.5
    for chosen, colour in ((~inner, EDGE_COLOUR), (inner, INNER_EDGE_COLOUR)):
        axes.add_collection(
            LineCollection(list(lines[chosen]), colors=colour, linewidths=thin, zorder=2), autolim=False
        )
