"""Encode once: what depends on one modality alone is run for every distinct input, not for every row.

A forward is traced on a few rows; the largest calls of submodules that see a single modality are found, their outputs
recorded on the distinct inputs of each modality, and replayed by row. Never believed: rows are recomputed plainly.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe, tree
from mviz_lightning.engine.calling import Predict, scores
from mviz_lightning.engine.dependency_trace import CallKey, Frame, Tags, Trace, trace, wrapped
from mviz_lightning.engine.query import Query

T = TypeVar("T")

SIZES = (6, 4)
"""Rows of the two forwards that are traced; a dimension that has both sizes is that of the batch."""

Axes: TypeAlias = dict[tree.Keys, int]
"""The way to every tensor in a call's outputs -> its batch dimension."""


@dataclass(frozen=True)
class Plan:
    """What is recorded and replayed.

    Attributes:
        modality: Call -> position of the modality that it sees.
        axes: Call -> batch dimensions of its outputs.
        needed: Leaves whose values the rest of the forward depends on.
        used: Call -> the tensors among its outputs that the rest depends on; an encoder's attention maps seldom are.
        left: Share of a forward's work that is left where the calls are replayed, taking their outputs among it.
        row_bytes: Of the largest tensor that a plain forward makes, for each row.
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


def find_plan(module: nn.Module, predict: Predict, probe: Probe, device: torch.device) -> Plan | None:
    """Trace a few forwards; return None where no submodule sees one modality alone. To be called isolated.

    Args:
        module: The model.
        predict: How it is called.
        probe: Six examples at the least.
        device: Where the model is.
    """
    paths, modalities = list(probe.layout.owners), len(probe.layout.names)
    if probe.size < max(SIZES):
        return None
    masks = [
        sum(1 << bit for bit, path in enumerate(paths) if probe.layout.owners[path] == m) for m in range(modalities)
    ]
    large = trace_rows(module, predict, probe, SIZES[0], device)
    owned = sum(masks) & ~sum(1 << bit for bit, path in enumerate(paths) if path in probe.layout.unowned)
    # Where a leaf of a modality does not reach the outputs it may have left torch's sight (strings, NumPy): then what
    # came from there may hold it, and whoever sees that is not taken to see one modality alone.
    stranger = 1 << len(paths) if owned & ~large.outputs else 0
    large, small = (trace_rows(module, predict, probe, size, device, (), stranger) for size in SIZES)
    found = {key: fit for key in large.frames if (fit := _fitting(key, large, small, masks)) is not None}
    calls, rest = _settled(
        found, large, lambda calls: trace_rows(module, predict, probe, SIZES[0], device, calls, stranger)
    )
    if not calls:
        return None
    seen = rest.outputs | rest.decisive
    # A leaf that does not even reach the outputs of the whole forward has left torch's sight on the way.
    needed = frozenset(path for bit, path in enumerate(paths) if (seen | ~large.outputs) >> bit & 1)
    axes = {key: fit[1] for key, fit in calls.items()}
    used = {
        key: frozenset(way for way in ways if stranger or seen & rest.replayed[key, way]) for key, ways in axes.items()
    }
    modality = {key: fit[0] for key, fit in calls.items()}
    return Plan(modality, axes, needed, used, rest.work / large.work, large.largest / SIZES[0])


def _settled(
    found: dict[CallKey, T], large: Trace, retrace: Callable[[Container[CallKey]], Trace]
) -> tuple[dict[CallKey, T], Trace]:
    """Return the calls to replay, and what the rest of the forward depends on.

    What a call leaves behind beside its outputs, in an attribute say, a replayed call would not; so where that is read,
    the calls inside are taken in its place.
    """
    while calls := _largest(found, large):
        rest = retrace(calls)
        seen = rest.outputs | rest.decisive
        leaving = {key for key, bit in rest.within.items() if seen & bit}
        if not leaving:
            return calls, rest
        found = {key: fit for key, fit in found.items() if key not in leaving}
    return {}, large


def _largest(found: Mapping[CallKey, T], trace: Trace) -> dict[CallKey, T]:
    """Return the calls that are not made inside of others."""
    largest = {key: fit for key, fit in found.items() if not _inside(trace.frames[key], found, trace)}
    return {key: fit for key, fit in largest.items() if not _also_inside(key, largest, trace)}


def trace_rows(
    module: nn.Module,
    predict: Predict,
    probe: Probe,
    size: int,
    device: torch.device,
    replayed: Any = (),
    stranger: Tags = 0,
) -> Trace:
    """Run a forward of the first so many examples and follow its leaves, in the order of the layout's owners."""
    query = Query.aligned(torch.arange(size), len(probe.layout.names))
    batch = probe.batch(query.sources, {}, device)
    leaves = probe.layout.leaves(batch)
    ordered = {path: leaves[path] for path in probe.layout.owners}
    return trace(module, lambda: scores(predict(module, batch)), ordered, replayed, stranger)


def _fitting(key: CallKey, large: Trace, small: Trace, masks: list[Tags]) -> tuple[int, Axes] | None:
    """Return the one modality that a call sees, and its outputs' batch dimensions; None if it cannot be replayed."""
    frame, twin = large.frames[key], small.frames.get(key)
    tags = frame.inputs | frame.seen | frame.tags
    seen = [m for m, mask in enumerate(masks) if tags & mask]
    if twin is None or len(seen) != 1 or not frame.tags or frame.edits or tags & ~masks[seen[0]]:
        return None
    axes = _axes(frame.outputs, twin.outputs)
    return None if axes is None else (seen[0], axes)


def _axes(large: Any, small: Any) -> Axes | None:
    """Compare a call's outputs for two numbers of rows; None where they are not one entry for each row."""
    nodes, twins = dict(tree.nodes(large)), dict(tree.nodes(small))
    if nodes.keys() != twins.keys():
        return None
    axes: Axes = {}
    for way, node in nodes.items():
        twin = twins[way]
        if isinstance(node, Tensor) and isinstance(twin, Tensor) and node.dim() == twin.dim():
            differing = [d for d in range(node.dim()) if node.shape[d] != twin.shape[d]]
            if len(differing) != 1 or (node.shape[differing[0]], twin.shape[differing[0]]) != SIZES:
                return None
            axes[way] = differing[0]
        elif not tree.children(node) and not (isinstance(node, bool | int | float | str | None) and node == twin):
            return None  # a number that is another in another batch tells of all its rows
    return axes


def _inside(frame: Frame, calls: Mapping[CallKey, Any], found: Trace) -> bool:
    """Tell whether a call is made inside another."""
    parent = frame.parent
    while parent is not None:
        if parent in calls:
            return True
        parent = found.frames[parent].parent
    return False


def _also_inside(key: CallKey, calls: Mapping[CallKey, Any], found: Trace) -> bool:
    """Tell whether the same module is called inside a replayed call too: its calls could not be counted."""
    return any(frame.key[0] == key[0] and _inside(frame, calls, found) for frame in found.frames.values())


class Recording:
    """Outputs of the replayed calls, for every distinct input.

    Args:
        plan: What is recorded.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shells: dict[CallKey, Any] = {}
        self._parts: dict[CallKey, dict[tree.Keys, list[Tensor]]] = {}
        self._tables: dict[CallKey, dict[tree.Keys, Tensor]] = {}

    def record(self, module: nn.Module, run: Callable[[], Any]) -> None:
        """Run a forward on the next distinct inputs and keep what the calls return."""
        copies: dict[CallKey, dict[tree.Keys, Tensor]] = {}

        def wrap(key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                outputs = original(*args, **kwargs)
                if key in self._plan.modality:
                    ways, used = self._plan.axes[key], self._plan.used[key]
                    self._shells.setdefault(key, tree.replace(outputs, dict.fromkeys(ways)))
                    # Copies: what comes behind may edit them in place. Of what nobody uses, one row stands for all.
                    copies[key] = {
                        way: (found if way in used else found.narrow(ways[way], 0, 1)).clone()
                        for way in ways
                        for found in [tree.get(outputs, way)]
                    }
                return outputs

            return call

        with wrapped(module, wrap, self._plan.modules):
            run()
        self._keep(copies)  # all or, where memory runs out on the way, none

    def _keep(self, copies: Mapping[CallKey, Mapping[tree.Keys, Tensor]]) -> None:
        for key, found in copies.items():
            parts = self._parts.setdefault(key, {way: [] for way in found})
            for way, copy in found.items():
                parts[way].append(copy)

    def close(self, count: int) -> None:
        """Join what was recorded in chunks of so many inputs.

        Raises:
            RuntimeError: A call did not come by with all of them, as where the longest text tells how often it is made.
        """
        for key, parts in self._parts.items():
            axes, used = self._plan.axes[key], self._plan.used[key]
            self._tables[key] = {way: torch.cat(found, axes[way]) for way, found in parts.items()}
            expected = max(count, 2)  # a single row is doubled
            if any(table.shape[axes[way]] != expected for way, table in self._tables[key].items() if way in used):
                raise RuntimeError(f"call {key[1] + 1} of {key[0]!r} is not made with every input")
        self._parts.clear()

    @property
    def row_bytes(self) -> float:
        """Memory that the recorded outputs of one row take."""
        sizes = (
            table.nbytes / table.shape[self._plan.axes[key][way]]
            for key, tables in self._tables.items()
            for way, table in tables.items()
            if way in self._plan.used[key]
        )
        return sum(sizes)

    def replay(self, module: nn.Module, index: Tensor, run: Callable[[], T]) -> T:
        """Run a forward in which the calls return what was recorded.

        Args:
            module: The model.
            index: ``(R, M)`` which of the distinct inputs each row takes.
            run: Calls the model on R rows.
        """

        def wrap(key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            return self._replayed(key, index) if key in self._tables else original

        with wrapped(module, wrap, self._plan.modules):
            return run()

    def _replayed(self, key: CallKey, index: Tensor) -> Callable[..., Any]:
        rows, axes, used = index[:, self._plan.modality[key]], self._plan.axes[key], self._plan.used[key]

        def call(*_: Any, **__: Any) -> Any:
            taken = {
                way: table.index_select(axes[way], rows) if way in used else _repeated(table, axes[way], len(rows))
                for way, table in self._tables[key].items()
            }
            return tree.replace(self._shells[key], taken)

        return call


def _repeated(table: Tensor, axis: int, rows: int) -> Tensor:
    """Return so many times the first row, without memory."""
    shape = list(table.shape)
    shape[axis] = rows
    return table.narrow(axis, 0, 1).expand(shape)
