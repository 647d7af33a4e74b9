"""Positions of outputs without an observed loss: those of the labels that the user named."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.explained_regions import ExplainedRegions
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.positions import LabelShapes, PositionAxes
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import IGNORED, without_ignored
from mviz_lightning.observation.position_targets import Positions
from mviz_lightning.observation.targets import ObservedTarget
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.task import resolve_task

WITHOUT = "the outputs have no positions, (B, C, H, W) or (B, T, C), that could be explained;"
"""Why positions or a region cannot be explained."""


def label_shapes(trial: Probe, target: str | None) -> LabelShapes:
    """Return the shapes that show whether the outputs for some examples have positions.

    Args:
        trial: The examples.
        target: Path of the labels, if the user named it.
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in trial.leaves.items() if isinstance(leaf, Tensor)}
    images = [shapes[path] for paths in trial.schema.values.values() for path in paths if path in shapes]
    masks = [shapes[one.mask_leaf] for one in trial.schema.modalities.values() if one.mask_leaf in shapes]
    return LabelShapes(shapes.get(target or ""), images, masks)


def given_positions(call: ModelCall, trial: Probe, task: Task | None, ignored: int = IGNORED) -> Positions | None:
    """Return the positions of the outputs of a call, with their labels; None if an example has one row of scores.

    Args:
        call: The call, with what it returned.
        trial: The examples, with the labels that the user named.
        task: The task that the user named.
        ignored: Target value of a position without a label, in addition to -100 and NaN.

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


def require_positions(config: SessionConfig, positions: Positions | None, trial: Probe) -> None:
    """Check that requested maps and the requested region exist in the outputs.

    Args:
        config: The configuration of the measurement.
        positions: The positions of the outputs; None if an example has one row of scores.
        trial: The examples, with their labels.

    Raises:
        ConfigurationError: The user requests explanations of positions that do not exist.
    """
    _require_region(config, trial.by_position)
    maps = [one for one in config.explainers if one.needs_positions]
    if maps and positions is None:
        raise ConfigurationError(f"explainers=[{type(maps[0]).__name__}()]: {WITHOUT} leave this explainer out.")


def _require_region(config: SessionConfig, labels: PositionLabels | None) -> None:
    """Raise a ConfigurationError for a region that no example has.

    A position in a sequence is not checked, because later sequences may be longer than the first ones.
    """
    if config.region is None:
        return
    if labels is None:
        raise ConfigurationError(f"region={config.region!r}: {WITHOUT} leave region= out.")
    if len(labels.lattice) > 1 or not isinstance(config.region, tuple | list):
        ExplainedRegions.of(labels, config.region, config.task, list(config.class_names or ())).places(0)


def leaf_target(schema: BatchSchema, path: str) -> ObservedTarget:
    """Return labels that are an unchanged leaf of the batch."""
    return ObservedTarget(partial(_leaf, schema=schema, path=path), path, path)


def _leaf(module: nn.Module, batch: Any, schema: BatchSchema, path: str) -> Tensor:
    return schema.leaf(batch, path)  # type: ignore[no-any-return]


def described(positions: Positions, call: ModelCall) -> str:
    """Return a description of how outputs with positions are read."""
    sizes = ", ".join(map(str, positions.shape[1:]))
    classes = positions.axes.classes
    along = "" if classes is None else f", the {positions.outputs} outputs of a position along axis {classes}"
    return (
        f"outputs: {call.description} -> (B, {sizes}){along}; target: {positions.target.code}, of each position; task: "
        f"{positions.task}"
    )
