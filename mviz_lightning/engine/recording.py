"""Record the outputs of a plan's calls on the distinct inputs of each modality, and replay them by row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch import tree
from mviz_lightning.engine.module_calls import CallKey, wrapped_calls
from mviz_lightning.engine.reuse_plan import Plan

T = TypeVar("T")


class MissingCallsError(RuntimeError):
    """Some calls were not made with all inputs.

    Attributes:
        modules: Names of the modules whose calls these are.
    """

    def __init__(self, calls: Sequence[CallKey]) -> None:
        name, number = calls[0]
        super().__init__(f"call {number + 1} of {name!r} is not made with every input")
        self.modules = list(dict.fromkeys(name for name, _ in calls))


@dataclass(frozen=True)
class _Part:
    """What one call returned for some inputs of one shape.

    Attributes:
        rows: ``(B,)`` their positions among the distinct inputs.
        shape: Number of the shape of their modality.
        tensors: Keys of a tensor in the call's outputs -> its entries for these inputs.
    """

    rows: Tensor
    shape: int
    tensors: dict[tree.Keys, Tensor]


@dataclass(frozen=True)
class _Table:
    """What one call returned for every distinct input.

    Attributes:
        place: ``(K,)``: for each of the K inputs, its position in the tensors of its shape.
        tensors: Number of a shape -> keys of a tensor -> its entries. It has one shape if the call returns tensors of
            one shape for all inputs.
    """

    place: Tensor
    tensors: dict[int, dict[tree.Keys, Tensor]]

    def of(self, shape: int) -> dict[tree.Keys, Tensor]:
        """Return the tensors of inputs of a shape."""
        return self.tensors[shape] if len(self.tensors) > 1 else next(iter(self.tensors.values()))


@dataclass(frozen=True)
class _Returned:
    """What a plan's calls return in one forward.

    Attributes:
        plan: The plan.
        calls: All calls of its modules.
        shells: Call of the plan -> its outputs without their tensors.
        copies: Call of the plan -> keys of a tensor in its outputs -> a copy.
    """

    plan: Plan
    calls: set[CallKey] = field(default_factory=set)
    shells: dict[CallKey, Any] = field(default_factory=dict)
    copies: dict[CallKey, dict[tree.Keys, Tensor]] = field(default_factory=dict)

    def wrap(self, key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the submodule's forward, wrapped so that its outputs are recorded."""

        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            self.calls.add(key)
            if key in self.plan.modality:
                self._note(key, outputs)
            return outputs

        return call

    def _note(self, key: CallKey, outputs: Any) -> None:
        ways, used = self.plan.axes[key], self.plan.used[key]
        self.shells[key] = tree.shell(tree.copied(outputs), dict.fromkeys(ways))
        # Copies, since later operations may change them in place. One row of an unused tensor is enough.
        self.copies[key] = {
            way: (found if way in used else found.narrow(ways[way], 0, 1)).clone()
            for way in ways
            for found in [tree.get(outputs, way)]
        }


class Recording:
    """Outputs of a plan's calls, for every distinct input.

    Args:
        plan: Which calls are recorded.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shells: dict[CallKey, Any] = {}
        self._calls: set[CallKey] | None = None
        self._parts: dict[CallKey, list[_Part]] = {}
        self._tables: dict[CallKey, _Table] = {}

    def record(self, module: nn.Module, rows: Tensor, shapes: Tensor, run: Callable[[], Any]) -> None:
        """Run a forward on some distinct inputs and keep copies of what the calls return.

        Args:
            module: The model.
            rows: ``(B,)`` positions of these inputs among the distinct inputs.
            shapes: ``(M,)`` number of the shape of each modality in these rows.
            run: Calls the model on these inputs.
        """
        returned = _Returned(self._plan)
        with wrapped_calls(module, returned.wrap, self._plan.modules):
            run()
        # Only after the whole forward: if memory runs out before its end, nothing is kept.
        if self._calls is not None and returned.calls != self._calls:
            raise MissingCallsError(sorted(returned.calls ^ self._calls))
        self._calls = returned.calls
        for key, found in returned.copies.items():
            self._require_same_constants(key, returned.shells[key])
            self._parts.setdefault(key, []).append(self._part(key, found, rows, shapes))

    def _require_same_constants(self, key: CallKey, shell: Any) -> None:
        if _constants(self._shells.setdefault(key, shell)) != _constants(shell):
            raise RuntimeError(f"call {key[1] + 1} of {key[0]!r} returns other numbers for other shapes")

    def _part(self, key: CallKey, found: dict[tree.Keys, Tensor], rows: Tensor, shapes: Tensor) -> _Part:
        axes, used = self._plan.axes[key], self._plan.used[key]
        expected = max(len(rows), 2)  # the evaluator doubles a single row
        if any(tensor.shape[axes[way]] != expected for way, tensor in found.items() if way in used):
            raise MissingCallsError([key])
        own = {way: found[way].narrow(axes[way], 0, len(rows)) for way in used}
        return _Part(rows, int(shapes[self._plan.modality[key]]), found | own)

    def close(self, count: int) -> None:
        """Join the chunks of the recording.

        Args:
            count: Number of distinct inputs that were recorded.

        Raises:
            MissingCallsError: A call was not made with all inputs, for example because the length of the longest text
                in a chunk decides how often the call is made.
        """
        missing = []
        for key, parts in self._parts.items():
            if sum(len(part.rows) for part in parts) == count:
                self._tables[key] = self._joined(key, parts, count)
            else:
                missing.append(key)
        self._parts.clear()
        if missing:
            raise MissingCallsError(missing)

    def _joined(self, key: CallKey, parts: Sequence[_Part], count: int) -> _Table:
        """Join the parts of one call: all of them where their tensors fit together, else those of each shape."""
        axes, used = self._plan.axes[key], self._plan.used[key]
        fits = all(len({_without(part.tensors[way].shape, axes[way]) for part in parts}) == 1 for way in used)
        place, tensors = torch.zeros(count, dtype=torch.long), {}
        for shape in {0} if fits else {part.shape for part in parts}:
            own = [part for part in parts if fits or part.shape == shape]
            rows = torch.cat([part.rows for part in own])
            place[rows] = torch.arange(len(rows))
            tensors[shape] = {
                way: torch.cat([part.tensors[way] for part in own], axes[way]) if way in used else first
                for way, first in own[0].tensors.items()
            }
        return _Table(place, tensors)

    @property
    def ragged(self) -> set[int]:
        """Positions of the modalities whose shape decides the shape of their recorded outputs."""
        return {self._plan.modality[key] for key, table in self._tables.items() if len(table.tensors) > 1}

    @property
    def row_bytes(self) -> float:
        """Bytes of the recorded outputs of one row, for the largest shape."""
        return sum(
            max(self._row_bytes(key, tensors) for tensors in table.tensors.values())
            for key, table in self._tables.items()
        )

    def _row_bytes(self, key: CallKey, tensors: Mapping[tree.Keys, Tensor]) -> float:
        axes = self._plan.axes[key]
        return sum(tensors[way].nbytes / tensors[way].shape[axes[way]] for way in self._plan.used[key])

    def replay(self, module: nn.Module, index: Tensor, shapes: Tensor, run: Callable[[], T]) -> T:
        """Run a forward in which the calls return their recorded outputs.

        Args:
            module: The model.
            index: ``(R, M)``: for each row and modality, the position of its input among the distinct inputs.
            shapes: ``(M,)`` number of the shape of each modality in these rows; it matters for ragged modalities only.
            run: Calls the model on R rows.

        Returns:
            What ``run`` returns.
        """

        def wrap(key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            return self._replayed(key, index, shapes) if key in self._tables else original

        with wrapped_calls(module, wrap, self._plan.modules):
            return run()

    def _replayed(self, key: CallKey, index: Tensor, shapes: Tensor) -> Callable[..., Any]:
        modality, axes, used = self._plan.modality[key], self._plan.axes[key], self._plan.used[key]
        table = self._tables[key]
        tensors, rows = table.of(int(shapes[modality])), table.place[index[:, modality].cpu()]

        def call(*_: Any, **__: Any) -> Any:
            taken = {
                way: _picked(tensor, axes[way], rows) if way in used else _repeated(tensor, axes[way], len(rows))
                for way, tensor in tensors.items()
            }
            return tree.copied(tree.replace(self._shells[key], taken))  # the caller may assign into containers

        return call


def _constants(shell: Any) -> list[tuple[tree.Keys, Any]]:
    """Return the plain values that a call returned beside tensors."""
    return [(keys, node) for keys, node in tree.nodes(shell) if isinstance(node, bool | int | float | str)]


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _picked(table: Tensor, axis: int, rows: Tensor) -> Tensor:
    return table.index_select(axis, rows.to(table.device))


def _repeated(table: Tensor, axis: int, rows: int) -> Tensor:
    """Return the first row repeated ``rows`` times, without using memory."""
    shape = list(table.shape)
    shape[axis] = rows
    return table.narrow(axis, 0, 1).expand(shape)
