"""Models that return probabilities: find the operation that made them, and evaluate the logits instead.

Probabilities that are averaged after their softmax have no logits: the logarithm of an average is not a sum of the
modalities' contributions, and would show interactions in a model that has none. They are decomposed as they are. So are
probabilities with exact zeros but without values near 0, such as those of sparsemax.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning.batch import Probe
from mviz_lightning.engine.dependency_tags import tensors_in
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.model_outputs import locate_scores
from mviz_lightning.engine.output_range import RangeMode
from mviz_lightning.engine.shape_buckets import alike
from mviz_lightning.functional import Task
from mviz_lightning.functional.outputs import (
    Head,
    has_bare_bounds,
    logits_of,
    reaches_bounds,
    sums_to_one,
    sums_to_percent,
    within_bounds,
)
from mviz_lightning.functional.targets import WHOLE

ATEN = torch.ops.aten

PROBABILITY_OPERATIONS: dict[Any, Head] = {ATEN.sigmoid: "sigmoid", ATEN.sigmoid_: "sigmoid", ATEN._softmax: "softmax"}
"""Operations that turn logits into probabilities."""

PRESERVING_OPERATIONS = {
    ATEN.cat,
    ATEN.stack,
    ATEN.clamp,
    ATEN.clone,
    ATEN._to_copy,
    ATEN.index,
    ATEN.index_select,
}
"""Operations that return probabilities if all their inputs are probabilities."""

WEIGHTING_OPERATIONS = {ATEN.mul, ATEN.mul_, ATEN.div, ATEN.div_, ATEN.rsub, ATEN.sub, ATEN.neg}
"""Operations that return parts of an average if one input is probabilities and the others are weights."""

ADDING_OPERATIONS = {ATEN.add, ATEN.add_, ATEN.lerp}
"""Operations that return an average of two inputs if both are probabilities or parts of an average."""

AVERAGING_OPERATIONS = {ATEN.mean, ATEN.sum, ATEN.bmm, ATEN.mm}
"""Operations that return an average of the entries of their last input if these are probabilities or parts."""

Last: TypeAlias = Head | Literal["mixture", "bounded"]
"""How a forward ends: with a softmax or sigmoid, with their average, or with any operation that gives 0..1."""

Reading: TypeAlias = Head | Literal["mixture", "sparse"]
"""How probabilities are read: as results of a softmax or sigmoid, as an average, or as sparse.

Sparse probabilities come from sparsemax or rounding, and have no logits.
"""

Made: TypeAlias = Head | Literal["mixture", "part"]
"""What a tensor of a forward holds: probabilities, an average of probabilities, or a part of an average."""


class _HeadMode(TorchDispatchMode):
    """Record which storages hold probabilities, through views and operations that join such tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: dict[int, Made | None] = {}
        self._kept: list[Any] = []  # an address identifies a storage only while the storage exists

    def made(self, tensor: Tensor) -> Made | None:
        """Return what a tensor of probabilities holds; None if it holds none."""
        return self._made.get(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record whether it made probabilities."""
        given = [tensor for tensor in tensors_in((args, kwargs or {})) if tensor.is_floating_point()]
        before = [self.made(tensor) for tensor in given]
        outputs = func(*args, **(kwargs or {}))
        operation = func._overloadpacket
        views = {tensor.untyped_storage()._cdata for tensor in given} if not func._schema.is_mutable else set()
        for tensor in tensors_in(outputs):
            storage = tensor.untyped_storage()
            if storage._cdata not in views:
                self._kept.append(storage)
                self._made[storage._cdata] = PROBABILITY_OPERATIONS.get(operation) or _made(
                    operation, given, before, tensor
                )
        return outputs


def _made(operation: Any, given: Sequence[Tensor], before: Sequence[Made | None], output: Tensor) -> Made | None:
    """Return what the output of an operation holds, given what its inputs hold."""
    if operation in PRESERVING_OPERATIONS and len(set(before)) == 1:
        return before[0]
    if operation in WEIGHTING_OPERATIONS or (operation in ADDING_OPERATIONS and len(given) == 1):
        return _weighted(given, before, output)
    if operation in ADDING_OPERATIONS and None not in before[:2]:
        return "mixture"
    if operation in AVERAGING_OPERATIONS and before[-1] is not None:
        single = len(given) == 1 and output.numel() == given[0].numel()
        return before[0] if single else "mixture"  # one member is no average
    return None


def _weighted(given: Sequence[Tensor], before: Sequence[Made | None], output: Tensor) -> Made | None:
    """Return what the product of probabilities and weights holds. Weights have no entry of their own for each output.

    A product of probabilities of the same outputs is a product of experts, which has logits.
    """
    whole = [made for tensor, made in zip(given, before, strict=True) if tensor.shape == output.shape]
    if len(whole) != 1 or whole[0] is None:
        return None
    return "mixture" if whole[0] == "mixture" else "part"


def last_operation(evaluator: Evaluator, probe: Probe) -> Last | None:
    """Return the softmax or sigmoid with which the model's forward ends, or whether it averages their probabilities.

    For any other last operation, interval arithmetic shows whether the outputs always lie between 0 and 1.

    The outputs alone do not prove it: the logits of an untrained model may lie between 0 and 1 too.

    Args:
        evaluator: Runs the model.
        probe: Some examples.

    Returns:
        ``"softmax"``, ``"sigmoid"``, ``"mixture"``, ``"bounded"``, or None if there is none or the forward cannot be
        traced.
    """
    with suppress(Exception), isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        batch, mode, ranges = probe.batch(alike(probe, 2).sources, {}, evaluator.device), _HeadMode(), RangeMode()
        with mode, ranges:
            outputs = locate_scores(evaluator.predict(evaluator.module, batch))[1]
        made, (low, high) = mode.made(outputs), ranges.range_of(outputs)
        if made is None or made == "part":
            return "bounded" if low >= 0 and high <= 1 else None
        return made
    return None


def head_of(outputs: Tensor, task: Task, last: Last | None, *, untold: bool = False) -> Reading | None:
    """Decide whether outputs are probabilities, and which operation made them.

    Outputs of a regression are not, whatever their range: the loss, the metric, ``task=`` or the labels show the task.

    Args:
        outputs: ``(R, C)`` outputs of all rows evaluated so far.
        task: What the outputs stand for.
        last: The result of :func:`last_operation`.
        untold: Whether neither a loss nor a metric of the user's shows what the outputs are.

    Returns:
        The operation, ``"softmax"`` or ``"sigmoid"``; ``"mixture"`` for averaged probabilities; ``"sparse"`` for those
        with zeros or ones that no logits give; None for logits and for values.
    """
    if task == "multiclass" and sums_to_percent(outputs):
        return "softmax"
    if task == "regression" or not within_bounds(outputs):
        return None
    if last == "mixture":
        return "mixture"
    made = last if last in ("softmax", "sigmoid") else None
    if made is None and _distributed(outputs):
        made = "softmax"
    # Among thousands of logits, some would be negative, or none would come close to 0 and to 1.
    elif made is None and (last == "bounded" or (untold and task != "multiclass" and reaches_bounds(outputs))):
        made = "sigmoid"
    if made is not None and last != made and has_bare_bounds(outputs, exclusive=made == "softmax"):
        return "sparse"
    return "sigmoid" if made == "softmax" and task != "multiclass" else made


def _distributed(outputs: Tensor) -> bool:
    """Return whether rows sum to 1 and are not all the same: constant outputs may sum to 1 by chance.

    Rounding to a few digits leaves sums that are nearly 1. These count only if outputs come close to 0 and to 1.
    """
    varied = bool((outputs != outputs[0]).any())
    return varied and (sums_to_one(outputs) or (reaches_bounds(outputs) and sums_to_one(outputs, within=WHOLE)))


def decomposed(outputs: Tensor, task: Task, reading: Reading | None) -> Tensor:
    """Return the quantity to decompose in place of the model's outputs.

    Args:
        outputs: ``(R, C)`` outputs of the model.
        task: What they stand for.
        reading: The result of :func:`head_of`.

    Returns:
        Logits for the probabilities of a softmax or sigmoid. Averaged and sparse probabilities stay as they are; if the
        task is not multiclass, 0.5 is subtracted, so that a positive number is a decision for the label, as with
        logits. Other outputs stay as they are.
    """
    head = head_in(reading)
    if head is not None:
        return logits_of(outputs, head)
    return outputs if reading is None or task == "multiclass" else outputs - 0.5


def head_in(reading: Reading | None) -> Head | None:
    """Return the operation whose logits are decomposed; None where there are none."""
    match reading:
        case "softmax" | "sigmoid":
            return reading
        case _:
            return None
