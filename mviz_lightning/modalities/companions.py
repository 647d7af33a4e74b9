"""Recognise the further leaves of a modality: the edges of a graph, or the grid of its patches."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import Modality
from mviz_lightning.batch.padding import real_along

GRID_NAMES = ("image_sizes", "spatial_shapes")
"""Names of leaves that count patches in transformers, besides all names that contain ``grid``."""


def with_companions_read(
    modality: Modality, values: str, leaves: Mapping[str, Any], own: Tensor | None = None
) -> Modality:
    """Return the modality with ``edges`` or ``grid`` set, if it names neither and one of its leaves fits.

    Args:
        modality: The user's description of the modality.
        values: Path of the leaf with the content.
        leaves: Path -> leaf of the modality.
        own: ``(N, ...)`` in the shape of the content, False where an example was padded; None if none was.
    """
    if modality.edges is not None or modality.grid is not None:
        return modality
    others = {path: leaf for path, leaf in leaves.items() if path != values and isinstance(leaf, Tensor)}
    edges = [path for path, leaf in others.items() if last_name(path).endswith("edge_index") and _is_pairs(leaf)]
    if edges:
        return replace(modality, edges=edges[0])
    counts = patch_counts(leaves[values], modality.real_entries(leaves), own)
    grids = [path for path, leaf in others.items() if _is_grid_name(path) and counts_patches(leaf, counts)]
    return replace(modality, grid=grids[0]) if grids else modality


def last_name(path: str) -> str:
    """Return the last name of a path."""
    return path.rpartition(".")[2]


def _is_grid_name(path: str) -> bool:
    return "grid" in last_name(path) or last_name(path) in GRID_NAMES


def _is_pairs(leaf: Tensor) -> bool:
    return leaf.dim() == 3 and leaf.shape[1] == 2 and not leaf.is_floating_point()


def patch_counts(values: Any, mask: Tensor | None, own: Tensor | None) -> Tensor | None:
    """Return ``(N,)``: the number of rows of each example that are not padding; None if the content has no rows.

    Args:
        values: The content, ``(N, L, D)``.
        mask: ``(N, L)`` boolean: True at real entries. None without a mask.
        own: ``(N, L, D)`` boolean, False where an example was padded; None if none was.
    """
    if not isinstance(values, Tensor) or values.dim() != 3:
        return None
    real = real_along(mask, values.shape[1])
    rows = torch.ones(values.shape[:2], dtype=torch.bool) if real is None else real
    return (rows if own is None else rows & own.any(2)).sum(1)


def counts_patches(grid: Any, counts: Tensor | None) -> bool:
    """Return whether a leaf contains picture sizes whose numbers of patches equal the rows of each example.

    Args:
        grid: ``(N, 2 or 3)`` or ``(N, K, 2 or 3)``.
        counts: ``(N,)``.
    """
    fits = isinstance(grid, Tensor) and grid.dim() in (2, 3) and grid.shape[-1] in (2, 3)
    if counts is None or not fits or grid.is_floating_point():
        return False
    return torch.equal(patch_totals(grid), counts)


def patch_totals(grid: Tensor) -> Tensor:
    """Return ``(N,)``: the patches of all pictures of each example, from their sizes ``(N, ..., 2 or 3)``."""
    return grid.long().prod(-1).reshape(len(grid), -1).sum(1)


def found_in(leaf: Any) -> str:
    """Return the shape of a leaf that does not fit, or its type, for messages."""
    return "no such leaf" if leaf is None else str(tuple(getattr(leaf, "shape", ())) or type(leaf).__name__)
