"""Find the axis of the classes in scores with many positions per example: followed back from the loss."""

from collections.abc import Sequence

import torch

from mviz_lightning.engine.positions import MAP, PositionAxes
from mviz_lightning.observation.provenance import Computed, Node
from mviz_lightning.observation.task_of_loss import CLASSES, LABELS, METRICS, VALUES

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
"""Distinct sizes, which identify an axis after a permutation."""

PERMUTATIONS = {"permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "T", "mT", "t"}
"""Operations that reorder axes."""

REDUCTIONS = {"argmax", "max"}
"""Operations that choose between the classes, along their axis."""

UNKNOWN = -1
"""Value for an axis of the classes that is not known."""


def class_axes(
    name: str, kind: str, scores: Sequence[Node], target: Sequence[Node], images: Sequence[tuple[int, ...]]
) -> list[PositionAxes | None]:
    """Return where classes and positions lie in each tensor on the way from an event's argument back to the scores.

    Args:
        name: Name of the loss or metric.
        kind: Kind of the event.
        scores: The tensors, the argument itself first.
        target: The tensors of the target, in the same order.
        images: Shapes of the batch's leaves that a map may belong to.

    Returns:
        None for each tensor that has no entry for each example, or no axis that fits the target's positions.
    """
    axis = _axis_of_argument(name, kind, scores[0].shape, target[0].shape)
    found: list[PositionAxes | None] = []
    for place, node in enumerate(scores):
        axis = axis if place == 0 else _axis_before(scores[place - 1], node.shape, axis)
        found.append(_fitting(node.shape, axis, [one.shape for one in target], name, images))
    return found


def _axis_of_argument(name: str, kind: str, shape: tuple[int, ...], target: tuple[int, ...]) -> int | None:
    """Return the axis of the classes in the argument of an event."""
    if len(shape) < 2:
        return None
    if (kind == "loss" and name in CLASSES) or len(shape) == len(target) + 1:
        return 1
    if name.startswith("Multilabel"):
        return 1
    told = any(name.startswith(begin) for begin in METRICS)
    return None if told and kind == "metric" else UNKNOWN


def _axis_before(after: Node, shape: tuple[int, ...], axis: int | None) -> int | None:
    """Return the axis of the classes in the tensor that another one was made from; None if they had none."""
    if not isinstance(after, Computed):
        return UNKNOWN
    if after.name in REDUCTIONS and len(shape) == len(after.shape) + 1:
        return _reduced(after, len(shape))
    if axis is None or axis == UNKNOWN or after.shape == shape:
        return UNKNOWN if axis is not None and axis == UNKNOWN else axis
    if after.name in PERMUTATIONS:
        return _permuted(after, len(shape), axis)
    if after.name == "__getitem__":
        return axis + len(shape) - len(after.shape) if isinstance(after.arguments[0][1], Node) else UNKNOWN
    return _reshaped(after.shape, shape, axis)


def _reduced(after: Computed, dimensions: int) -> int | None:
    (_, *rest), named = after.arguments
    given = rest[0] if rest else named.get("dim", named.get("axis"))
    return given % dimensions if isinstance(given, int) else UNKNOWN


def _permuted(after: Computed, dimensions: int, axis: int) -> int:
    (_, *rest), named = after.arguments
    sizes = PRIMES[:dimensions]
    moved = after.function(torch.empty(sizes, device="meta"), *rest, **named)
    return sizes.index(moved.shape[axis])


def _reshaped(after: tuple[int, ...], before: tuple[int, ...], axis: int) -> int:
    """Return the axis of the same size with as many entries behind it."""
    inner = _size(after[axis + 1 :])
    fits = (k for k in range(1, len(before)) if before[k] == after[axis] and _size(before[k + 1 :]) == inner)
    return next(fits, UNKNOWN)


def _size(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def _fitting(
    shape: tuple[int, ...],
    axis: int | None,
    targets: Sequence[tuple[int, ...]],
    name: str,
    images: Sequence[tuple[int, ...]],
) -> PositionAxes | None:
    """Return the axes if the positions are those of the target; None otherwise."""
    if len(shape) < 3:
        return None
    axis = _axis_by_target(shape, targets, name, images) if axis == UNKNOWN else axis
    axes = PositionAxes(axis)
    lattice, count = axes.lattice(shape), shape[0]
    entries = {count * _size(lattice), count * _size(shape[1:])}
    fits = any(one[:1] == (count,) and len(one) > 1 and _size(one) in entries for one in targets)
    return axes if fits and axis != UNKNOWN else None


def _axis_by_target(
    shape: tuple[int, ...], targets: Sequence[tuple[int, ...]], name: str, images: Sequence[tuple[int, ...]]
) -> int | None:
    """Return the axis that the target lacks; if it lacks none, that of labels or of several values."""
    missing = [k for k in range(1, len(shape)) if any(shape[:k] + shape[k + 1 :] == one for one in targets)]
    if missing:
        return missing[0]
    alone = [k for k in range(1, len(shape)) if shape[k] == 1]
    if alone:
        return alone[0]
    if len(shape) >= MAP:
        return 1
    mapped = any(len(one) >= MAP and one[-2:] == shape[1:] for one in images)
    return None if mapped and (name in LABELS | VALUES or name) else len(shape) - 1
