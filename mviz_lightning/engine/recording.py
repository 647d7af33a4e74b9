"""Record the outputs of a plan's calls on the distinct inputs of each modality, and replay them by row."""

from collections.abc import Callable, Mapping, Sequence
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


class Recording:
    """Outputs of a plan's calls, for every distinct input.

    Args:
        plan: Which calls are recorded.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shells: dict[CallKey, Any] = {}
        self._parts: dict[CallKey, dict[tree.Keys, list[Tensor]]] = {}
        self._tables: dict[CallKey, dict[tree.Keys, Tensor]] = {}

    def record(self, module: nn.Module, run: Callable[[], Any]) -> None:
        """Run a forward on the next distinct inputs and keep copies of what the calls return.

        Args:
            module: The model.
            run: Calls the model on these inputs.
        """
        copies: dict[CallKey, dict[tree.Keys, Tensor]] = {}

        def wrap(key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                outputs = original(*args, **kwargs)
                if key in self._plan.modality:
                    ways, used = self._plan.axes[key], self._plan.used[key]
                    self._shells.setdefault(key, tree.copied(tree.replace(outputs, dict.fromkeys(ways))))
                    # Copies, since later operations may change them in place. One row of an unused tensor is enough.
                    copies[key] = {
                        way: (found if way in used else found.narrow(ways[way], 0, 1)).clone()
                        for way in ways
                        for found in [tree.get(outputs, way)]
                    }
                return outputs

            return call

        with wrapped_calls(module, wrap, self._plan.modules):
            run()
        self._keep(copies)  # only after the whole forward: if memory runs out on the way, nothing is kept

    def _keep(self, copies: Mapping[CallKey, Mapping[tree.Keys, Tensor]]) -> None:
        for key, found in copies.items():
            parts = self._parts.setdefault(key, {way: [] for way in found})
            for way, copy in found.items():
                parts[way].append(copy)

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
            axes, used = self._plan.axes[key], self._plan.used[key]
            self._tables[key] = {way: torch.cat(found, axes[way]) for way, found in parts.items()}
            expected = max(count, 2)  # the evaluator doubles a single row
            if any(table.shape[axes[way]] != expected for way, table in self._tables[key].items() if way in used):
                missing.append(key)
        self._parts.clear()
        if missing:
            raise MissingCallsError(missing)

    @property
    def row_bytes(self) -> float:
        """Bytes that the recorded outputs of one row take."""
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
            index: ``(R, M)``: for each row and modality, the position of its input among the distinct inputs.
            run: Calls the model on R rows.

        Returns:
            What ``run`` returns.
        """

        def wrap(key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            return self._replayed(key, index) if key in self._tables else original

        with wrapped_calls(module, wrap, self._plan.modules):
            return run()

    def _replayed(self, key: CallKey, index: Tensor) -> Callable[..., Any]:
        rows, axes, used = index[:, self._plan.modality[key]], self._plan.axes[key], self._plan.used[key]

        def call(*_: Any, **__: Any) -> Any:
            taken = {
                way: table.index_select(axes[way], rows) if way in used else _repeated(table, axes[way], len(rows))
                for way, table in self._tables[key].items()
            }
            return tree.copied(tree.replace(self._shells[key], taken))  # the caller may assign into containers

        return call


def _repeated(table: Tensor, axis: int, rows: int) -> Tensor:
    """Return the first row repeated ``rows`` times, without using memory."""
    shape = list(table.shape)
    shape[axis] = rows
    return table.narrow(axis, 0, 1).expand(shape)
