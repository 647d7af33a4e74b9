"""Positions of outputs that no observed loss tells about: those of the labels that the user named."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.positions import LabelShapes, PositionAxes
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED, without_ignored
from mviz_lightning.observation.position_targets import Positions
from mviz_lightning.observation.targets import ObservedTarget
from mviz_lightning.session.task import resolve_task


def label_shapes(trial: Probe, target: str | None) -> LabelShapes:
    """Return the shapes that tell whether the outputs for some examples have positions.

    Args:
        trial: The examples.
        target: Path of the labels, if the user named it.
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in trial.leaves.items() if isinstance(leaf, Tensor)}
    images = [shapes[path] for paths in trial.schema.values.values() for path in paths if path in shapes]
    masks = [shapes[one.mask_leaf] for one in trial.schema.modalities.values() if one.mask_leaf in shapes]
    return LabelShapes(shapes.get(target or ""), images, masks)


def given_positions(call: ModelCall, trial: Probe, task: Task | None, ignored: int = IGNORED) -> Positions | None:
    """Return the positions of the outputs of a call, with their labels; None where an example has one row of scores.

    Args:
        call: The call, with what it returned.
        trial: The examples, with the labels that the user named.
        task: The task that the user named.
        ignored: Target of a position without a label, beside -100 and NaN.

    Raises:
        ConfigurationError: The labels fit no task, or not the one that the user named.
    """
    axes, path, shape = call.axes, trial.schema.target, call.outputs.shape
    if axes is None or path is None:
        return None
    labels = trial.leaves[path]
    label_axes = PositionAxes(axes.classes if labels.dim() == len(shape) else None)
    known = without_ignored(label_axes.whole(labels).flatten(0, 1), ignored)
    found = resolve_task(task, axes.outputs(shape), known)
    return Positions(axes, shape, leaf_target(trial.schema, path), label_axes, found, ignored)


def leaf_target(schema: BatchSchema, path: str) -> ObservedTarget:
    """Return labels that are a leaf of the batch as it is."""
    return ObservedTarget(partial(_leaf, schema=schema, path=path), path, path)


def _leaf(module: nn.Module, batch: Any, schema: BatchSchema, path: str) -> Tensor:
    return schema.leaves_of(batch, {path})[path]  # type: ignore[no-any-return]


def described(positions: Positions, call: ModelCall) -> str:
    """Return in words how outputs with positions are read."""
    sizes = ", ".join(map(str, positions.shape[1:]))
    classes = positions.axes.classes
    along = "" if classes is None else f", the {positions.outputs} outputs of a position along axis {classes}"
    return (
        f"outputs: {call.description} -> (B, {sizes}){along}; target: {positions.target.code}, of each position; task: "
        f"{positions.task}"
    )
