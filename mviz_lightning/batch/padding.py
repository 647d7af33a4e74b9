"""Padding: join examples of different shapes into one leaf, and find its real entries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch.holdings import as_tensors, padded
from mviz_lightning.batch.modality import Modality
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.batch.rows import is_ragged, join_leaves
from mviz_lightning.batch.schema import BatchSchema

FEWEST_VOTES = 2
"""Smallest number of examples needed to read a mask in the opposite direction."""


def collate(schema: BatchSchema, rows: Sequence[Example]) -> dict[str, Any]:
    """Join examples into leaves.

    Examples of different shapes are padded once to the largest shape, so that they are equal in every chunk. The
    padding is on the left if the modality's masks show that the user's own batches are padded on the left, otherwise on
    the right.

    Args:
        schema: The batch's schema.
        rows: The examples.
    """
    return {path: _collate_leaf(schema, path, rows) for path in schema.owners}


def _collate_leaf(schema: BatchSchema, path: str, rows: Sequence[Example]) -> Any:
    column = [row[path] for row in rows]
    arrays = None if schema.padded(path) else _arrays(column)
    if arrays is not None:
        return padded(arrays)
    if not is_ragged(column):
        return join_leaves(column)
    modality = _modality_of(schema, path)
    return join_leaves(column, _pad_value(path, modality, rows), in_front=_padded_in_front(modality, rows))


def own_bounds(schema: BatchSchema, rows: Sequence[Example]) -> dict[str, Tensor]:
    """Return the positions of the examples' own entries in leaves that :func:`collate` pads.

    Args:
        schema: The batch's schema.
        rows: The examples.

    Returns:
        Path -> ``(N, D, 2)`` long: start and stop of each example's entries along each of the D dimensions after the
        first. Leaves whose examples all have one shape are not included.
    """
    columns = {path: [row[path] for row in rows] for path in schema.owners}
    stacked = {
        path: _bounds([leaf.shape[1:] for leaf in column], in_front=_padded_in_front(_modality_of(schema, path), rows))
        for path, column in columns.items()
        if is_ragged(column)
    }
    arrays = {path: _arrays(column) for path, column in columns.items() if not schema.padded(path)}
    shapes = {path: [tuple(array.shape) for array in found] for path, found in arrays.items() if found is not None}
    return stacked | {path: _bounds(found, in_front=False) for path, found in shapes.items() if len(set(found)) > 1}


def _arrays(column: Sequence[Any]) -> list[Tensor] | None:
    """Return the arrays of examples that are stored in lists; None if they are not arrays."""
    return as_tensors([entry for leaf in column for entry in leaf])


def _bounds(column: Sequence[Sequence[int]], *, in_front: bool) -> Tensor:
    shapes = torch.tensor(column)
    starts = torch.zeros_like(shapes)
    if in_front:
        starts[:, 0] = shapes[:, 0].max() - shapes[:, 0]
    return torch.stack([starts, starts + shapes], -1)


def within_bounds_of(bounds: Tensor, shape: Sequence[int]) -> Tensor:
    """Return ``(N, *shape)`` bool, True at the examples' own entries.

    Args:
        bounds: ``(N, D, 2)`` their start and stop along each dimension.
        shape: The D sizes of the padded leaf after its first.
    """
    inside = torch.ones(len(bounds), *shape, dtype=torch.bool)
    for axis, size in enumerate(shape):
        start, stop = (bound.view(-1, *[1] * len(shape)) for bound in bounds[:, axis].unbind(-1))
        place = torch.arange(size).view(-1, *[1] * (len(shape) - axis - 1))
        inside &= (place >= start) & (place < stop)
    return inside


def _modality_of(schema: BatchSchema, path: str) -> Modality | None:
    return None if path in schema.unowned else schema.modalities[schema.names[schema.owners[path]]]


def _padded_in_front(modality: Modality | None, rows: Sequence[Example]) -> bool:
    """Return whether the user's own batches are padded on the left, as for decoders that read the last position."""
    if modality is None:
        return False
    masks = [real.flatten() for row in rows if (real := modality.real_entries(row)) is not None]
    padded = [real for real in masks if bool(real.any()) and not bool(real.all())]
    return bool(padded) and all(not real[0] and bool(real[-1]) for real in padded)


def _pad_value(path: str, modality: Modality | None, rows: Sequence[Example]) -> float:
    """Return the value with which the user's own batches are padded: the most frequent value at the mask's padding."""
    if modality is None:
        return 0
    if path == modality.mask_leaf:
        return modality.hiding
    if modality.pad_value is not None and path == modality.values:
        return modality.pad_value
    padding = [found[~real].flatten() for row in rows for found, real in _with_mask(modality, row, path)]
    seen = torch.cat(padding) if padding else torch.zeros(0)
    return float(seen.mode().values) if len(seen) else 0


def _with_mask(modality: Modality, row: Example, path: str) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield a leaf's ``(P, D)`` entries and ``(P,)`` bool, True at real entries, if the mask has one value for each."""
    real, leaf = modality.real_entries(row), row.get(path)
    if real is None or not isinstance(leaf, Tensor):
        return
    if real.dim() > 1 and real.shape == leaf.shape[: real.dim()]:
        yield leaf.reshape(real.numel(), -1), real.flatten()
    elif real.dim() > 1 and real.shape[1:] == leaf.shape[leaf.dim() - real.dim() + 1 :]:  # pixels, after channels
        yield leaf.reshape(-1, real.numel()).T, real.flatten()
    elif leaf.dim() > 1 and (along := real_along(real, leaf.shape[1])) is not None:
        yield leaf.reshape(along.numel(), -1), along.flatten()


def real_along(real: Tensor | None, length: int) -> Tensor | None:
    """Return which entries along one axis are not padding.

    Args:
        real: Booleans, True at real entries: ``(N, length)``, with or without further axes of size 1, or
            ``(N, ..., length)`` with one mask per query.
        length: Entries of an example.

    Returns:
        ``(N, length)`` boolean; None without a mask, or if the mask has another length.
    """
    if real is None or real.dim() < 2:
        return None
    if real[0].numel() == length:
        return real.flatten(1)
    return real.flatten(1, -2).any(1) if real.shape[-1] == length else None


def told_by_examples(schema: BatchSchema, rows: Sequence[Mapping[str, Any]]) -> BatchSchema:
    """Return the schema with what was learned from examples: the direction of masks, and the wrapper tokens.

    Args:
        schema: The batch's schema.
        rows: Some examples, each a path -> leaf with one entry.
    """
    read = with_masks_read(schema, rows)
    return read if read.interleaving is None else replace(read, interleaving=read.interleaving.told_by(rows))


def with_masks_read(schema: BatchSchema, rows: Sequence[Mapping[str, Any]]) -> BatchSchema:
    """Return the schema with each ``mask`` replaced by a ``padding_mask`` if the examples show that it is one.

    Within an example, values at padding are constant, and values at real entries vary. If this does not decide, the
    mask is read as declared.

    Args:
        schema: The batch's schema.
        rows: Some examples, each a path -> leaf with one entry.
    """
    read = {name: _read(modality, schema.values[name][0], rows) for name, modality in schema.modalities.items()}
    return replace(schema, modalities=read)


def _read(modality: Modality, values: str, rows: Sequence[Mapping[str, Any]]) -> Modality:
    if modality.mask is None:
        return modality
    turned = replace(modality, mask=None, padding_mask=modality.mask)
    declared, inverted = (sum(_separates(way, row, values) for row in rows) for way in (modality, turned))
    return turned if inverted >= FEWEST_VOTES and inverted > declared else modality


def _separates(modality: Modality, row: Mapping[str, Any], values: str) -> bool:
    """Return whether, in one example, real entries vary and padding (of two or more entries) does not."""
    return any(
        _varies(found[real]) and (~real).sum() != 1 and not _varies(found[~real])
        for found, real in _with_mask(modality, row, values)
    )


def marks_padding(values: str, mask: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a leaf is 0 (or True) exactly where another leaf is padded, that is, constant.

    Args:
        values: Path of the leaf that may be padded.
        mask: Path of the leaf that may be its mask.
        rows: Some examples, each a path -> leaf with one entry.
    """
    ways = (Modality(values, mask=mask), Modality(values, padding_mask=mask))
    return any(_marks(way, rows) for way in ways)


def _marks(modality: Modality, rows: Sequence[Mapping[str, Any]]) -> bool:
    split = [pair for row in rows for pair in _with_mask(modality, row, modality.values)]
    padded = [(found[real], found[~real]) for found, real in split if (~real).sum() > 1]
    constant = not any(_varies(padding) for _, padding in padded)
    return constant and sum(_varies(entries) for entries, _ in padded) >= FEWEST_VOTES


def _varies(entries: Tensor) -> bool:
    known = entries.nan_to_num() if entries.is_floating_point() else entries
    return bool((known != known[:1]).any())


def read_as_padding_masks(declared: Mapping[str, Modality], schema: BatchSchema) -> str:
    """Return one line that names the masks that are read in the opposite direction than declared; empty if none is.

    Args:
        declared: Name -> modality as the user gave it.
        schema: The schema that :func:`with_masks_read` returned.
    """
    turned = [
        f"{modality.padding_mask!r} of {name}"
        for name, modality in schema.modalities.items()
        if modality.padding_mask is not None and declared[name].padding_mask is None
    ]
    if not turned:
        return ""
    return (
        f"the mask {', '.join(turned)} is True at padding, as PyTorch's key_padding_mask is: what stands there is "
        "constant, and what stands at False is not. It is read that way; padding_mask= in place of mask= says so."
    )
