"""Models that return probabilities: find the operation that made them, and evaluate the logits instead."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning.batch import Probe
from mviz_lightning.engine.dependency_tags import tensors_in
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import scores
from mviz_lightning.engine.shape_buckets import alike
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import Head, logits_of, sums_to_one, within_bounds

ATEN = torch.ops.aten

PROBABILITY_OPERATIONS: dict[Any, Head] = {ATEN.sigmoid: "sigmoid", ATEN.sigmoid_: "sigmoid", ATEN._softmax: "softmax"}
"""Operations that turn logits into probabilities."""

PRESERVING_OPERATIONS = {
    ATEN.cat,
    ATEN.stack,
    ATEN.mean,
    ATEN.clamp,
    ATEN.clone,
    ATEN._to_copy,
    ATEN.index,
    ATEN.index_select,
}
"""Operations that return probabilities if all their inputs are probabilities."""


class _HeadMode(TorchDispatchMode):
    """Record which storages hold probabilities, through views and operations that join such tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, Head | None] = {}
        self._kept: list[Any] = []  # a storage's address identifies it only while it lives

    def made(self, tensor: Tensor) -> Head | None:
        """Return the operation that made a tensor of probabilities; None if it holds none."""
        return self._made.get(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record whether it made probabilities."""
        given = [tensor for tensor in tensors_in((args, kwargs or {})) if tensor.is_floating_point()]
        before = {self.made(tensor) for tensor in given}
        kept = before.pop() if func._overloadpacket in PRESERVING_OPERATIONS and len(before) == 1 else None
        outputs = func(*args, **(kwargs or {}))
        views = set() if func._schema.is_mutable else {tensor.untyped_storage()._cdata for tensor in given}
        for tensor in tensors_in(outputs):
            storage = tensor.untyped_storage()
            if storage._cdata not in views:
                self._kept.append(storage)
                self._made[storage._cdata] = PROBABILITY_OPERATIONS.get(func._overloadpacket, kept)
        return outputs


def last_operation(evaluator: Evaluator, probe: Probe) -> Head | None:
    """Return the softmax or sigmoid with which the model's forward ends.

    The outputs alone do not prove it: the logits of an untrained model may lie between 0 and 1 too.

    Args:
        evaluator: Runs the model.
        probe: Some examples.

    Returns:
        ``"softmax"``, ``"sigmoid"``, or None if there is neither or the forward cannot be traced.
    """
    with suppress(Exception), isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        batch, mode = probe.batch(alike(probe, 2).sources, {}, evaluator.device), _HeadMode()
        with mode:
            outputs = scores(evaluator.predict(evaluator.module, batch))
        return mode.made(outputs)
    return None


def head_of(outputs: Tensor, task: Task, last: Head | None) -> Head | None:
    """Decide whether outputs are probabilities, and of which operation.

    Args:
        outputs: ``(R, C)`` outputs of all rows evaluated so far.
        task: What the outputs stand for.
        last: The result of :func:`last_operation`.

    Returns:
        ``"softmax"``, ``"sigmoid"``, or None for logits and for values.
    """
    if task == "regression" or not within_bounds(outputs):
        return None
    # After softmax, half precision may have been widened to float32. Constant outputs may sum to 1 by chance.
    sure = sums_to_one(outputs) and bool((outputs != outputs[0]).any())
    if sure or (last == "softmax" and sums_to_one(outputs, torch.bfloat16)):
        return "softmax" if task == "multiclass" else "sigmoid"
    return "sigmoid" if last == "sigmoid" else None


def with_logits(evaluator: Evaluator, head: Head | None) -> Evaluator:
    """Return an evaluator that returns logits for a model that returns probabilities.

    Args:
        evaluator: Runs the model.
        head: The operation that makes the model's probabilities; None leaves the evaluator as it is.
    """
    if head is None:
        return evaluator
    pairs = None if evaluator.all_pairs is None else _Logits(evaluator.all_pairs, head)
    return replace(evaluator, predict=_Logits(evaluator.predict, head), all_pairs=pairs, head=head)


def without_logits(evaluator: Evaluator) -> Evaluator:
    """Return an evaluator of what the model itself returns.

    The logits of probabilities near 0 and 1 differ by much more than rounding where the probabilities do not.

    Args:
        evaluator: An evaluator, perhaps of :func:`with_logits`.
    """
    plain = {name: getattr(evaluator, name) for name in ("predict", "all_pairs")}
    plain = {name: call.predict if isinstance(call, _Logits) else call for name, call in plain.items()}
    return replace(evaluator, head=None, **plain)


@dataclass(frozen=True)
class _Logits:
    """A call that returns the logits of the probabilities that another call returns."""

    predict: Predict
    head: Head

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        return logits_of(scores(self.predict(module, batch)), self.head)
