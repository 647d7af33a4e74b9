"""Whether a model returns probabilities, and the logits behind them."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning.batch import Probe
from mviz_lightning.engine.calling import Predict, scores
from mviz_lightning.engine.dependency_trace import tensors
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import Head, logits_of, sums_to_one, within_bounds

ATEN = torch.ops.aten

MADE: dict[Any, Head] = {ATEN.sigmoid: "sigmoid", ATEN.sigmoid_: "sigmoid", ATEN._softmax: "softmax"}
"""Operations that make probabilities of logits."""

KEPT = {ATEN.cat, ATEN.stack, ATEN.mean, ATEN.clamp, ATEN.clone, ATEN._to_copy, ATEN.index, ATEN.index_select}
"""Operations whose results are probabilities where all that they are given is."""


class _Heads(TorchDispatchMode):
    """Notes which storages hold probabilities, through views and what puts such tensors together."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, Head | None] = {}
        self._kept: list[Any] = []  # a storage's address is its name while it lives

    def made(self, tensor: Tensor) -> Head | None:
        """Tell what made a tensor of logits, if that is known."""
        return self._made.get(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and note what it made."""
        given = [tensor for tensor in tensors((args, kwargs or {})) if tensor.is_floating_point()]
        before = {self.made(tensor) for tensor in given}
        kept = before.pop() if func._overloadpacket in KEPT and len(before) == 1 else None
        outputs = func(*args, **(kwargs or {}))
        views = set() if func._schema.is_mutable else {tensor.untyped_storage()._cdata for tensor in given}
        for tensor in tensors(outputs):
            storage = tensor.untyped_storage()
            if storage._cdata not in views:
                self._kept.append(storage)
                self._made[storage._cdata] = MADE.get(func._overloadpacket, kept)
        return outputs


def last_operation(evaluator: Evaluator, probe: Probe) -> Head | None:
    """Tell whether a forward ends in softmax or a sigmoid; None too where its operations cannot be followed.

    That all outputs lie between 0 and 1 would be no proof: so may the logits of a model that has learned nothing.

    Args:
        evaluator: Asks the model.
        probe: Some examples.
    """
    with suppress(Exception), isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        rows = Query.aligned(torch.arange(min(2, probe.size)), len(probe.layout.names))
        batch, watch = probe.batch(rows.sources, {}, evaluator.device), _Heads()
        with watch:
            outputs = scores(evaluator.predict(evaluator.module, batch))
        return watch.made(outputs)
    return None


def head_of(outputs: Tensor, task: Task, last: Head | None) -> Head | None:
    """Tell what made probabilities of logits; None where outputs are no probabilities, or values.

    Args:
        outputs: ``(R, C)`` of as many rows as there are.
        task: What they stand for.
        last: The forward's last operation, if it is one of them.
    """
    if task == "regression" or not within_bounds(outputs):
        return None
    # Half precision may have been widened behind softmax; outputs that do not vary sum to 1 by chance.
    sure = sums_to_one(outputs) and bool((outputs != outputs[0]).any())
    if sure or (last == "softmax" and sums_to_one(outputs, torch.bfloat16)):
        return "softmax" if task == "multiclass" else "sigmoid"
    return "sigmoid" if last == "sigmoid" else None


def behind(evaluator: Evaluator, head: Head | None) -> Evaluator:
    """Return an evaluator that answers with the logits behind a model's probabilities."""
    if head is None:
        return evaluator
    pairs = None if evaluator.all_pairs is None else _Logits(evaluator.all_pairs, head)
    return replace(evaluator, predict=_Logits(evaluator.predict, head), all_pairs=pairs, head=head)


@dataclass(frozen=True)
class _Logits:
    """A call that returns the logits behind the probabilities of another."""

    predict: Predict
    head: Head

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        return logits_of(scores(self.predict(module, batch)), self.head)
