"""Outputs ``(B, T)`` whose length differs from batch to batch: each output has a position, with or without a mask."""

from dataclasses import replace

from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.padding import within_bounds_of
from mviz_lightning.engine.decomposed_calls import read_by
from mviz_lightning.engine.positions import EvenReader, PositionAxes
from mviz_lightning.functional import Task
from mviz_lightning.observation.position_targets import Positions
from mviz_lightning.observation.targets import ObservedTarget
from mviz_lightning.session.given_positions import leaf_target
from mviz_lightning.session.task import resolve_task
from mviz_lightning.session.tried_model import TriedModel

EACH = PositionAxes(None)
"""Each position has one output."""


def read_along_lengths(tried: TriedModel, probe: Probe, target: str | None, task: Task | None) -> TriedModel | None:
    """Return a model whose outputs are read by position; None if they have a single length, or positions already.

    Args:
        tried: The model, tried on a first batch.
        probe: Examples of all batches.
        target: Path of the labels that the user named.
        task: The task that was assumed for the outputs.
    """
    found = None if tried.positions is not None else _target(tried, probe, target)
    lengths = None if found is None else _lengths(probe, found.path)
    if found is None or lengths is None or len(set(lengths)) < 2 or tried.outputs not in lengths:
        return None
    of_position: Task | None = "binary" if task == "multilabel" else task
    known = resolve_task(of_position, 1, _entries(probe, str(found.path)))
    positions = Positions(EACH, (probe.size, tried.outputs), found, EACH, known)
    evaluator = read_by(tried.evaluator, EvenReader(EACH))
    return replace(tried, evaluator=evaluator, outputs=1, positions=positions)


def _target(tried: TriedModel, probe: Probe, target: str | None) -> ObservedTarget | None:
    """Return the labels, if there is one for each output."""
    observed = tried.observed
    if observed is None:
        return None if target is None else leaf_target(probe.schema, target)
    shapes = observed.head.root.shape, observed.head.label.shape
    return observed.target if len(set(shapes)) == 1 and len(shapes[0]) == 2 else None


def _lengths(probe: Probe, path: str | None) -> list[int] | None:
    """Return the length of each example's own labels; None if all have the same."""
    bounds = probe.bounds.get(path or "")
    return bounds[:, 0].diff(dim=-1).flatten().tolist() if bounds is not None and bounds.shape[1] == 1 else None


def _entries(probe: Probe, path: str) -> Tensor:
    """Return ``(n,)`` the labels of all real positions."""
    leaf = probe.leaves[path]
    found: Tensor = leaf[within_bounds_of(probe.bounds[path], leaf.shape[1:])]
    return found
