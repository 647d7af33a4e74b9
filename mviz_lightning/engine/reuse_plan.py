"""Plan which calls of a model run once for every distinct input of a modality instead of once for every row.

A forward of a few rows is traced. The plan names the largest calls of submodules that depend on a single modality;
their outputs are recorded on the distinct inputs of that modality and replayed by row. The evaluator does not rely on a
plan: it recomputes some rows without it every time.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe, tree
from mviz_lightning.engine.dependency_tags import Tags
from mviz_lightning.engine.dependency_trace import Frame, Trace, trace_rows
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.module_calls import CallKey

T = TypeVar("T")

TRACED_ROWS = (6, 4)
"""Rows of the two traced forwards. A dimension of size 6 in the first and 4 in the second is the batch dimension."""

Axes: TypeAlias = dict[tree.Keys, int]
"""Keys of every tensor in a call's outputs -> its batch dimension."""


@dataclass(frozen=True)
class Plan:
    """Which calls are recorded and replayed.

    Attributes:
        modality: Call -> position of the one modality that it depends on.
        axes: Call -> batch dimensions of its outputs.
        needed: Leaves whose values the rest of the forward depends on.
        used: Call -> the tensors in its outputs that the rest depends on; attention maps, for example, are rarely used.
        left: Work of a forward with replayed calls, as a fraction of that of a plain forward.
        row_bytes: Bytes of the largest tensor that a plain forward makes, divided by the number of rows.
    """

    modality: Mapping[CallKey, int]
    axes: Mapping[CallKey, Axes]
    needed: frozenset[str]
    used: Mapping[CallKey, frozenset[tree.Keys]]
    left: float
    row_bytes: float = 0.0

    @property
    def modules(self) -> list[str]:
        """Names of the modules whose calls are replayed."""
        return list(dict.fromkeys(name for name, _ in self.modality))

    def alone(self, module: str, paths: Iterable[str]) -> "Plan":
        """Return a plan that replays only the calls of one module, and keeps all leaves for the rest of the forward.

        Args:
            module: Name of the module.
            paths: Paths of all leaves.
        """
        calls = {key: m for key, m in self.modality.items() if key[0] == module}
        axes = {key: self.axes[key] for key in calls}
        used = {key: frozenset(ways) for key, ways in axes.items()}
        return Plan(calls, axes, frozenset(paths), used, 1.0, self.row_bytes)


def find_plan(
    module: nn.Module, predict: Predict, probe: Probe, device: torch.device, without: Container[str] = ()
) -> Plan | None:
    """Trace a few forwards and return what can be replayed. Call it inside ``isolated``.

    Args:
        module: The model.
        predict: Calls the model.
        probe: At least 6 examples.
        device: The model's device.
        without: Names of modules that are not replayed; those inside them may be.

    Returns:
        The plan; None if no submodule depends on one modality alone, or if there are fewer examples.
    """
    if probe.size < max(TRACED_ROWS):
        return None
    paths, masks = list(probe.schema.owners), modality_masks(probe)
    large, untracked = trace_followed(module, predict, probe, device)
    small = trace_rows(module, predict, probe, TRACED_ROWS[1], device, (), untracked)
    allowed = (key for key in large.frames if key[0] not in without)
    found = {key: fit for key in allowed if (fit := _fitting(key, large, small, masks)) is not None}
    calls, rest = _without_side_outputs(
        found, large, lambda calls: trace_rows(module, predict, probe, TRACED_ROWS[0], device, calls, untracked)
    )
    if not calls:
        return None
    seen = rest.outputs | rest.decisive
    # The trace has lost a leaf that does not reach the outputs of the whole forward; its values are kept to be safe.
    needed = frozenset(path for bit, path in enumerate(paths) if (seen | ~large.outputs) >> bit & 1)
    axes = {key: fit[1] for key, fit in calls.items()}
    used = {
        key: frozenset(way for way in ways if untracked or seen & rest.replayed[key, way]) for key, ways in axes.items()
    }
    modality = {key: fit[0] for key, fit in calls.items()}
    return Plan(modality, axes, needed, used, rest.work / large.work, large.largest / TRACED_ROWS[0])


def modality_masks(probe: Probe) -> list[Tags]:
    """Return, for each modality, the bits of its leaves in a trace of rows.

    Leaves of a text that is rebuilt with the blocks of other modalities depend on several modalities, and count for
    none. Items count for none either if an example may have several: tensors made from them have no entry per row.
    """
    schema, found = probe.schema, probe.schema.interleaving
    media = [] if found is None else [own for own in found.media.values() if probe.leaves[own[0]].shape[1] != 1]
    no_rows = {*(() if found is None else found.tokenwise), *(path for own in media for path in own)}
    return [
        sum(1 << bit for bit, path in enumerate(schema.owners) if schema.owners[path] == m and path not in no_rows)
        for m in range(len(schema.names))
    ]


def trace_followed(module: nn.Module, predict: Predict, probe: Probe, device: torch.device) -> tuple[Trace, Tags]:
    """Trace a forward of 6 rows.

    Returns:
        The trace, and the tag of tensors that no traced operation made; 0 if the trace loses no leaf. If it loses a
        leaf of a modality on its way to the outputs (strings, NumPy), any such tensor may hold its values; a call that
        uses one does not count as depending on one modality alone.
    """
    schema, bits = probe.schema, 1 << len(probe.schema.owners)
    owned = sum(1 << bit for bit, path in enumerate(schema.owners) if path not in schema.unowned)
    found = trace_rows(module, predict, probe, TRACED_ROWS[0], device)
    untracked = bits if owned & ~found.outputs else 0
    return trace_rows(module, predict, probe, TRACED_ROWS[0], device, (), untracked), untracked


def _without_side_outputs(
    found: dict[CallKey, T], large: Trace, retrace: Callable[[Container[CallKey]], Trace]
) -> tuple[dict[CallKey, T], Trace]:
    """Return the calls to replay, and a trace of the forward in which they are replayed.

    A call may also store something without returning it, in an attribute for example; a replayed call would not. If the
    rest of the forward reads it, or fails with copies of what the call returns, the calls inside that call are replayed
    in its place.
    """
    while calls := _outermost(found, large):
        rest = _unless_it_fails(retrace, calls)
        seen = 0 if rest is None else rest.outputs | rest.decisive
        leaving = _failing(retrace, calls) if rest is None else {key for key, bit in rest.inside.items() if seen & bit}
        if rest is not None and not leaving:
            return calls, rest
        found = {key: fit for key, fit in found.items() if key not in leaving}
    return {}, large


def _failing(retrace: Callable[[Container[CallKey]], Trace], calls: Iterable[CallKey]) -> set[CallKey]:
    """Return the calls that make the rest of a forward fail, each replayed alone; all of them if none does."""
    return {key for key in calls if _unless_it_fails(retrace, {key}) is None} or set(calls)


def _unless_it_fails(retrace: Callable[[Container[CallKey]], Trace], calls: Container[CallKey]) -> Trace | None:
    try:
        return retrace(calls)
    except Exception as error:
        if ran_out(error):
            raise
        return None


def _outermost(found: Mapping[CallKey, T], trace: Trace) -> dict[CallKey, T]:
    """Return the calls that are not made inside others."""
    outermost = {key: fit for key, fit in found.items() if not _inside(trace.frames[key], found, trace)}
    return {key: fit for key, fit in outermost.items() if not _also_inside(key, outermost, trace)}


def _fitting(key: CallKey, large: Trace, small: Trace, masks: list[Tags]) -> tuple[int, Axes] | None:
    """Return a call's one modality and its outputs' batch dimensions; None if the call cannot be replayed."""
    frame, twin = large.frames[key], small.frames.get(key)
    tags = frame.inputs | frame.seen | frame.tags
    seen = [m for m, mask in enumerate(masks) if tags & mask]
    if twin is None or len(seen) != 1 or not frame.tags or frame.edits or tags & ~masks[seen[0]]:
        return None
    axes = _axes(frame.outputs, twin.outputs)
    return None if axes is None else (seen[0], axes)


def _axes(nodes: Mapping[tree.Keys, Any], twins: Mapping[tree.Keys, Any]) -> Axes | None:
    """Compare a call's outputs for two numbers of rows; return None unless every tensor has one entry per row."""
    if nodes.keys() != twins.keys():
        return None
    axes: Axes = {}
    for way, node in nodes.items():
        twin = twins[way]
        if isinstance(node, Tensor) and isinstance(twin, Tensor) and node.dim() == twin.dim():
            differing = [d for d in range(node.dim()) if node.shape[d] != twin.shape[d]]
            if len(differing) != 1 or (node.shape[differing[0]], twin.shape[differing[0]]) != TRACED_ROWS:
                return None
            axes[way] = differing[0]
        elif not _is_constant(node, twin):
            return None  # a number that differs between the two batches depends on all rows
    return axes


def _is_constant(node: Any, twin: Any) -> bool:
    """Return whether a leaf is the same plain value, or an empty container, in both batches."""
    empty = isinstance(node, Mapping | list | tuple) and not node
    return (empty or isinstance(node, bool | int | float | str | None)) and type(node) is type(twin) and node == twin


def _inside(frame: Frame, calls: Mapping[CallKey, Any], found: Trace) -> bool:
    """Return whether a call is made inside another."""
    parent = frame.parent
    while parent is not None:
        if parent in calls:
            return True
        parent = found.frames[parent].parent
    return False


def _also_inside(key: CallKey, calls: Mapping[CallKey, Any], found: Trace) -> bool:
    """Return whether the same submodule is also called inside a replayed call: then its calls cannot be numbered."""
    return any(frame.key[0] == key[0] and _inside(frame, calls, found) for frame in found.frames.values())
