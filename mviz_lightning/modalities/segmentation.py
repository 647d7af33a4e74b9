"""Divide entries into segments: blocks of nearly equal length, runs between padding, clusters of nodes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.errors.deprecations import renamed_arguments


@renamed_arguments(parts="count")
def blocks(length: int, count: int) -> Tensor:
    """Divide ``length`` entries into up to ``count`` blocks of nearly equal length.

    Returns:
        ``(length,)`` long: the block of every entry, from 0.
    """
    return torch.arange(length) * min(count, length) // max(length, 1)


def runs(starts: Tensor, count: int) -> Tensor:
    """Divide the items of every row into up to ``count`` runs of nearly equal length.

    Args:
        starts: ``(N, L)``: 1 at the start of an item (a word, a time step), 0 inside it, -1 outside of items.
        count: Largest number of runs in a row.

    Returns:
        ``(N, L)`` long: the run of every entry, -1 outside of items.
    """
    if not starts.numel():
        return starts
    number = starts.clamp(min=0).cumsum(1) - 1
    items = number.max(1, keepdim=True).values + 1
    return (number * items.clamp(max=count) // items.clamp(min=1)).where(starts >= 0, -1)


def clusters(count: int, edges: npt.NDArray[Any], most: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Divide the nodes of a graph into up to ``most`` connected clusters; equal graphs get equal clusters.

    The centre of the first cluster is the node with most edges. Each further centre is the node that is farthest from
    all centres so far, and a node belongs to its nearest centre (Gonzalez 1985, Clustering to minimize the maximum
    intercluster distance). If a graph has more than ``most`` components, those without a centre are in the last
    cluster.

    Args:
        count: Number of nodes.
        edges: ``(2, E)`` the two nodes of every edge, in either direction.
        most: Largest number of clusters.

    Returns:
        ``(count,)`` the cluster of every node, and ``(clusters,)`` the centre of every cluster, in ascending order.
    """
    if count <= most:
        return np.arange(count), np.arange(count)
    near = neighbours(count, edges)
    degree = np.array([len(nodes) for nodes in near])
    distance, cluster = np.full(count, count), np.full(count, most - 1)
    centres: list[int] = []
    while len(centres) < most:
        farthest = np.flatnonzero(distance == distance.max())
        centres.append(int(farthest[degree[farthest].argmax()]))
        _spread(centres[-1], len(centres) - 1, near, distance, cluster)
    order = np.argsort(centres)
    return np.argsort(order)[cluster], np.array(centres)[order]


def _spread(
    centre: int,
    number: int,
    near: list[npt.NDArray[Any]],
    distance: npt.NDArray[Any],
    cluster: npt.NDArray[Any],
) -> None:
    """Assign all nodes that are nearer to a new centre than to the others to its cluster, in place.

    The nodes on a shortest path to such a node are also nearer to the new centre, so clusters stay connected.
    """
    reached, steps = np.array([centre]), 0
    while len(reached):
        distance[reached], cluster[reached] = steps, number
        steps += 1
        found = np.unique(np.concatenate([near[node] for node in reached.tolist()]))
        reached = found[distance[found] > steps]


def neighbours(count: int, edges: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return the neighbours of every node; edges count in both directions, and duplicates count once.

    Args:
        count: Number of nodes.
        edges: ``(2, E)`` the two nodes of every edge.
    """
    both = np.unique(np.concatenate([edges, edges[::-1]], 1), axis=1)
    return np.split(both[1], np.searchsorted(both[0], np.arange(1, count)))
