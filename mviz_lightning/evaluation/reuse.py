"""Encode once: what depends on one modality alone is run for every distinct input, not for every row.

A forward is traced on a few rows; the largest calls of submodules that see a single modality are found, their outputs
recorded on the distinct inputs of each modality, and replayed by row. Never believed: rows are recomputed plainly.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe, tree
from mviz_lightning.evaluation.prediction import Predict, scores
from mviz_lightning.evaluation.query import Query, numbered
from mviz_lightning.evaluation.taint import CallKey, Frame, Tags, Trace, trace, wrapped

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
    """

    modality: Mapping[CallKey, int]
    axes: Mapping[CallKey, Axes]
    needed: frozenset[str]

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
    large = _trace(module, predict, probe, SIZES[0], device)
    owned = sum(masks) & ~sum(1 << bit for bit, path in enumerate(paths) if path in probe.layout.unowned)
    # Where a leaf of a modality does not reach the outputs it may have left torch's sight (strings, NumPy): then what
    # came from there may hold it, and whoever sees that is not taken to see one modality alone.
    stranger = 1 << len(paths) if owned & ~large.outputs else 0
    large, small = (_trace(module, predict, probe, size, device, (), stranger) for size in SIZES)
    found = {key: fit for key in large.frames if (fit := _fitting(key, large, small, masks)) is not None}
    largest = {key: fit for key, fit in found.items() if not _inside(large.frames[key], found, large)}
    calls = {key: fit for key, fit in largest.items() if not _also_inside(key, largest, large)}
    if not calls:
        return None
    rest = _trace(module, predict, probe, SIZES[0], device, calls, stranger)
    # A leaf that does not even reach the outputs of the whole forward has left torch's sight on the way.
    bits = rest.outputs | rest.decisive | ~large.outputs
    needed = frozenset(path for bit, path in enumerate(paths) if bits >> bit & 1)
    return Plan({key: fit[0] for key, fit in calls.items()}, {key: fit[1] for key, fit in calls.items()}, needed)


def _trace(
    module: nn.Module,
    predict: Predict,
    probe: Probe,
    size: int,
    device: torch.device,
    replayed: Any = (),
    stranger: Tags = 0,
) -> Trace:
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
        elif not tree.children(node) and not isinstance(node, bool | int | float | str | type(None)):
            return None
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
                    ways = self._plan.axes[key]
                    self._shells.setdefault(key, tree.replace(outputs, dict.fromkeys(ways)))
                    # Copies: what comes behind may edit them in place.
                    copies[key] = {way: tree.get(outputs, way).clone() for way in ways}
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

    def close(self) -> None:
        """Join what was recorded in chunks."""
        for key, parts in self._parts.items():
            axes = self._plan.axes[key]
            self._tables[key] = {way: torch.cat(found, axes[way]) for way, found in parts.items()}
        self._parts.clear()

    @property
    def row_bytes(self) -> float:
        """Memory that the recorded outputs of one row take."""
        sizes = (
            table.nbytes / table.shape[self._plan.axes[key][way]]
            for key, tables in self._tables.items()
            for way, table in tables.items()
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
        rows, axes = index[:, self._plan.modality[key]], self._plan.axes[key]

        def call(*_: Any, **__: Any) -> Any:
            taken = {way: table.index_select(axes[way], rows) for way, table in self._tables[key].items()}
            return tree.replace(self._shells[key], taken)

        return call


@dataclass(frozen=True)
class Slice:
    """Neighbouring rows of a query with few distinct inputs.

    Attributes:
        rows: Of the query.
        distinct: Rows that hold every distinct input of every modality, at the same place in its order.
        index: ``(R, M)`` place of each row's inputs in that order.
    """

    rows: slice
    distinct: Query
    index: Tensor


def slices(query: Query, names: list[str], limit: int) -> Iterator[Slice]:
    """Cut a query into runs of rows in which no modality has more than ``limit`` distinct inputs.

    So the memory for recorded outputs is that of one chunk of rows, however many rows are asked for.
    """
    inputs = _inputs(query, names)
    columns = inputs.T.tolist()
    start, known = 0, [dict[int, int]() for _ in columns]
    for row in range(len(query)):
        if any(column[row] not in seen and len(seen) == limit for column, seen in zip(columns, known, strict=True)):
            yield _cut(query, names, inputs, start, row)
            start, known = row, [{} for _ in columns]
        for column, seen in zip(columns, known, strict=True):
            seen.setdefault(column[row], row)
    if start < len(query):
        yield _cut(query, names, inputs, start, len(query))


def _inputs(query: Query, names: list[str]) -> Tensor:
    """Return ``(R, M)`` numbers, equal where a modality's example and mask are."""
    columns = []
    for position, name in enumerate(names):
        inputs = query.sources[:, position]
        if name in query.masks:
            masks = numbered(query.masks[name])
            inputs = inputs * (masks.max() + 1) + masks if len(masks) else inputs
        columns.append(torch.unique(inputs, return_inverse=True)[1])
    return torch.stack(columns, 1)


def _cut(query: Query, names: list[str], inputs: Tensor, start: int, stop: int) -> Slice:
    rows, part = slice(start, stop), query[start:stop]
    index, firsts = [], []
    for column in inputs[rows].T:
        distinct, inverse = torch.unique(column, return_inverse=True)
        first = torch.full((len(distinct),), len(column)).scatter_reduce(0, inverse, torch.arange(len(column)), "amin")
        index.append(inverse)
        firsts.append(first)
    most = max(len(first) for first in firsts)
    places = [first[torch.arange(most) % len(first)] for first in firsts]
    sources = torch.stack([part.sources[place, m] for m, place in enumerate(places)], 1)
    masks = {name: kept[places[names.index(name)]] for name, kept in part.masks.items()}
    return Slice(rows, Query(sources, masks), torch.stack(index, 1))
