"""Positions of the nodes of a drawn graph; equal graphs get equal positions."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mviz_lightning.modalities.segmentation import clusters

PIVOTS = 100
"""Largest number of nodes to which distances are computed; in smaller graphs, all nodes."""

STEPS = 80
"""Number of steps that fit positions to the distances in the graph; further steps have no visible effect."""

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
"""Angle in radians between successive points of a spiral; with this angle no two points are close."""


def layout(count: int, edges: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Place the nodes of a graph so that their distances are close to the path lengths between them.

    Pivot multidimensional scaling (Brandes and Pich 2007, Eigensolver methods for progressive multidimensional scaling
    of large data) and then majorisation of the stress (Gansner et al. 2005, Graph drawing by stress majorization).

    Args:
        count: Number of nodes.
        edges: ``(2, E)`` the two nodes of every edge.

    Returns:
        ``(count, 2)`` in units of an edge, widest along the first axis.
    """
    if not count:
        return np.zeros((0, 2))
    pivots = clusters(count, edges, PIVOTS)[1]
    wanted = _distances(count, edges, pivots)
    angle = GOLDEN_ANGLE * np.arange(count)
    apart = 0.1 * np.sqrt(np.arange(count) / count)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    places = _scaled(wanted, pivots) + apart  # separates nodes with equal distances
    for _ in range(STEPS):
        places = _nearer(places, pivots, wanted)
    return along_main_axes(places)


def _distances(count: int, edges: npt.NDArray[Any], pivots: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``(count, P)``: edges between every node and every pivot; 0.6 of the largest plus 1.5 if unconnected."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    edges = edges.astype(np.int32)  # SciPy 1.11 needs int32
    graph = coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), (count, count)).tocsr()
    found: npt.NDArray[Any] = dijkstra(graph, directed=False, indices=pivots, unweighted=True).T
    reached = found[np.isfinite(found)].max(initial=0)
    return np.where(np.isfinite(found), found, 0.6 * reached + 1.5)


def _scaled(wanted: npt.NDArray[Any], pivots: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``(count, 2)``: coordinates on the two principal axes of the distances to the pivots, in their unit."""
    squares = wanted**2
    centred = -0.5 * (squares - squares.mean(0) - squares.mean(1, keepdims=True) + squares.mean())
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    places = np.zeros((len(wanted), 2))
    places[:, : len(axes)] = centred @ axes.T
    between = np.linalg.norm(places[:, None] - places[pivots], axis=2)
    scale: npt.NDArray[Any] = places * wanted.sum() / max(between.sum(), 1e-12)
    return scale


def _nearer(places: npt.NDArray[Any], pivots: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Move every node halfway to the position at which its distances to the pivots have the least stress."""
    weights = np.divide(1, wanted**2, out=np.zeros_like(wanted), where=wanted > 0)
    away = places[:, None] - places[pivots]
    length = np.linalg.norm(away, axis=2).clip(min=1e-9)
    best = places[pivots] + away * (wanted / length)[..., None]
    moved = (weights[..., None] * best).sum(1) / weights.sum(1, keepdims=True).clip(min=1e-9)
    return np.where(weights.sum(1, keepdims=True) > 0, (places + moved) / 2, places)


def along_main_axes(places: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``(count, 2)``: points ``(count, 2 or more)`` along their two principal axes.

    The first node that is not in the middle gets a negative coordinate, so that equal graphs are drawn equally.
    """
    centred = places - places.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    turned = centred @ axes.T
    found = np.zeros((len(places), 2))
    found[:, : turned.shape[1]] = turned
    return found * [_sign(column) for column in found.T]


def _sign(column: npt.NDArray[Any]) -> int:
    decisive = column[np.abs(column) > 1e-6]
    return -1 if len(decisive) and decisive[0] > 0 else 1
