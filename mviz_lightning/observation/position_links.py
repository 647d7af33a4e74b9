"""Scores with many positions per example: the tensors between them and a loss, and their values at a few positions."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.engine.positions import EvenReader, PositionAxes
from mviz_lightning.observation.class_axis import class_axes
from mviz_lightning.observation.events import OBSERVED_ROWS, Event, Link
from mviz_lightning.observation.provenance import Computed, Node
from mviz_lightning.observation.step_record import StepRecord


def with_positions(event: Event, scores: Sequence[Tensor], targets: Sequence[Tensor], record: StepRecord) -> Event:
    """Return an event whose links hold the axes of positions and classes, where its scores have positions.

    Args:
        event: The event.
        scores: The tensors of its scores, in the order of the links.
        targets: The tensors of its target, in the order of the links.
        record: What the step showed so far.
    """
    if not targets:
        return event
    nodes, labels = [link.node for link in event.scores], [link.node for link in event.target]
    found = class_axes(event.name, event.kind, nodes, labels, _images(record))
    found = _masked_values(event.scores, labels, found, record)
    axes = next((one for one in reversed(found) if one is not None), None)
    if axes is None or record.count != nodes[found.index(axes)].shape[0]:
        return event
    lattice = axes.lattice(nodes[found.index(axes)].shape)
    linked = tuple(
        link if one is None or link.node.shape[0] != record.count else _sampled(link, tensor, one)
        for link, tensor, one in zip(event.scores, scores, found, strict=True)
    )
    target = tuple(
        _sampled(link, tensor, _axes_of_target(tuple(tensor.shape), axes, math.prod(lattice)))
        if tensor.dim() > 1 and len(tensor) == record.count
        else link
        for link, tensor in zip(event.target, targets, strict=True)
    )
    return replace(event, scores=_unstacked(linked), target=_unstacked(target), views=())


def _images(record: StepRecord) -> list[tuple[int, ...]]:
    """Return the shapes of the leaves of modalities."""
    paths = [path for paths in record.schema.values.values() for path in paths]
    return [record.shapes[keys] for keys in record.shapes if any(record.schema.holds(path, keys) for path in paths)]


def _axes_of_target(shape: tuple[int, ...], scores: PositionAxes, count: int) -> PositionAxes:
    """Return where positions and classes are in a target; it has classes only if it has one value for each class."""
    whole = math.prod(shape[1:])
    several = scores.classes is not None and len(shape) > scores.classes and whole != count
    return PositionAxes(scores.classes if several else None)


def _masked_values(
    links: Sequence[Link], labels: Sequence[Node], found: list[PositionAxes | None], record: StepRecord
) -> list[PositionAxes | None]:
    """Read ``(B, T)`` scores as positions where a mask picks some of them, or pads one of the modalities."""
    picked = any(_picks_entries(link.node) for link in links)
    padded = any(shape in _padding_masks(record) for shape in (link.node.shape for link in links))
    if not (picked or padded) or any(found):
        return found
    shapes = {label.shape for label in labels}
    return [PositionAxes(None) if len(link.node.shape) == 2 and link.node.shape in shapes else None for link in links]


def _picks_entries(node: Node) -> bool:
    """Return whether an operation picks single entries of examples by a mask."""
    picks = isinstance(node, Computed) and node.name in ("__getitem__", "masked_select")
    masks = [one for one in node.inputs[1:] if len(one.shape) > 1] if picks else []
    return bool(masks)


def _padding_masks(record: StepRecord) -> set[tuple[int, ...]]:
    """Return the shapes of the masks of modalities."""
    masks = [one.mask_leaf for one in record.schema.modalities.values() if one.mask_leaf is not None]
    return {shape for keys, shape in record.shapes.items() for path in masks if record.schema.holds(path, keys)}


def _sampled(link: Link, tensor: Tensor, axes: PositionAxes) -> Link:
    """Return a link with the values of the first rows at a few positions, ``(R * P, C)`` or ``(R * P,)``."""
    with torch.inference_mode(False), torch.no_grad():
        found = few_positions(tensor.detach()[:OBSERVED_ROWS], axes).clone()
    return replace(link, rows=found, readings=(), axes=axes)


def few_positions(tensor: Tensor, axes: PositionAxes) -> Tensor:
    """Return ``(R * P, C)``, or ``(R * P,)`` without classes: a tensor at a few positions."""
    found = EvenReader(axes).of(tensor).flatten(0, 1)
    return found.squeeze(1) if axes.classes is None else found


def _unstacked(links: Sequence[Link]) -> tuple[Link, ...]:
    """Remove rows and readings from links without axes: their rows are positions and not stacked views."""
    return tuple(link if link.axes is not None else replace(link, rows=None, readings=()) for link in links)
