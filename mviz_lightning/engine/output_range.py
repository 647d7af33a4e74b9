"""Interval arithmetic on a forward: the range in which its outputs lie, whatever the inputs and the weights are.

This finds a sigmoid that is written by hand, such as ``1 / (1 + exp(-z))`` or ``(1 + tanh(z)) / 2``.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning.engine.dependency_tags import tensors_in

ATEN = torch.ops.aten

Range: TypeAlias = tuple[float, float]
"""Smallest and largest value that a tensor can have."""

ANY: Range = (-math.inf, math.inf)

FIXED: Mapping[Any, Range] = {
    **dict.fromkeys((ATEN.sigmoid, ATEN.sigmoid_, ATEN._softmax, ATEN.hardsigmoid, ATEN.special_ndtr), (0.0, 1.0)),
    **dict.fromkeys((ATEN.tanh, ATEN.tanh_, ATEN.erf, ATEN.sin, ATEN.cos), (-1.0, 1.0)),
    **dict.fromkeys((ATEN.softplus, ATEN.relu, ATEN.relu_, ATEN.abs), (0.0, math.inf)),
}
"""Operation -> range of its output, for any input."""

KEEPING = {
    *(ATEN.clone, ATEN._to_copy, ATEN.index, ATEN.index_select, ATEN.cat, ATEN.stack, ATEN.mean, ATEN.round),
    *(ATEN.maximum, ATEN.minimum, ATEN.where),
}
"""Operations whose output lies between the smallest and the largest value of their inputs."""


def _exponential(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _times(left: Range, right: Range) -> Range:
    products = [0.0 if 0.0 in (a, b) else a * b for a in left for b in right]
    return min(products), max(products)


def _reciprocal(given: Range) -> Range:
    """Return the range of 1 / x."""
    if given[0] < 0:
        return ANY
    return (0.0 if math.isinf(given[1]) else 1 / given[1]), (math.inf if given[0] == 0 else 1 / given[0])


def _plus(left: Range, right: Range) -> Range:
    return left[0] + right[0], left[1] + right[1]


def _minus(given: Range) -> Range:
    return -given[1], -given[0]


def _clamped(given: Range, low: Any = None, high: Any = None) -> Range:
    """Return the range of a clamp by numbers."""
    least = -math.inf if low is None else float(low)
    most = math.inf if high is None else float(high)
    return min(max(given[0], least), most), max(min(given[1], most), least)


ONE: Mapping[Any, Callable[[Range], Range]] = {
    ATEN.neg: _minus,
    ATEN.exp: lambda given: (_exponential(given[0]), _exponential(given[1])),
    ATEN.reciprocal: _reciprocal,
}
"""Operations on one tensor."""

TWO: Mapping[Any, Callable[[Range, Range], Range]] = {
    ATEN.add: _plus,
    ATEN.add_: _plus,
    ATEN.sub: lambda left, right: _plus(left, _minus(right)),
    ATEN.rsub: lambda left, right: _plus(right, _minus(left)),
    ATEN.mul: _times,
    ATEN.mul_: _times,
    ATEN.div: lambda left, right: _times(left, _reciprocal(right)) if right[0] >= 0 else ANY,
}
"""Operations on two tensors, or on a tensor and a number."""

CLAMPS = {ATEN.clamp, ATEN.clamp_, ATEN.clamp_min, ATEN.clamp_max, ATEN.hardtanh}
"""Operations that cut values off at numbers."""


class RangeMode(TorchDispatchMode):
    """Record the range of every tensor of a forward; it is unknown for tensors that no operation made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ranges: dict[int, Range] = {}
        self._kept: list[Any] = []  # an address identifies a storage only while the storage exists

    def range_of(self, given: Any) -> Range:
        """Return the range of a tensor or a number."""
        if isinstance(given, Tensor):
            return self._ranges.get(given.untyped_storage()._cdata, ANY)
        return (float(given), float(given)) if isinstance(given, int | float) else ANY

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record the range of its outputs."""
        kwargs = kwargs or {}
        before = {tensor.untyped_storage()._cdata for tensor in tensors_in((args, kwargs))}
        found = self._after(func._overloadpacket, args, kwargs)
        outputs = func(*args, **kwargs)
        for tensor in tensors_in(outputs):
            storage = tensor.untyped_storage()
            if storage._cdata not in before or func._schema.is_mutable:
                self._kept.append(storage)
                self._ranges[storage._cdata] = found
        return outputs

    def _after(self, operation: Any, args: Any, kwargs: Any) -> Range:
        """Return the range of an operation's output."""
        if operation in FIXED:
            return FIXED[operation]
        if operation in KEEPING:
            floats = [tensor for tensor in tensors_in((args, kwargs)) if tensor.is_floating_point()]
            ranges = [self.range_of(tensor) for tensor in floats] or [ANY]
            return min(low for low, _ in ranges), max(high for _, high in ranges)
        if operation in ONE:
            return ONE[operation](self.range_of(args[0]))
        if operation in TWO and len(args) == 2 and not kwargs:  # alpha= and rounding_mode= change the formula
            return TWO[operation](self.range_of(args[0]), self.range_of(args[1]))
        return self._cut(operation, args, kwargs) if operation in CLAMPS else ANY

    def _cut(self, operation: Any, args: Any, kwargs: Any) -> Range:
        if any(isinstance(bound, Tensor) for bound in (*args[1:], *kwargs.values())):
            return ANY
        given = self.range_of(args[0])
        if operation is ATEN.clamp_max:
            return _clamped(given, None, *args[1:])
        bounds = args[1:] or ((-1, 1) if operation is ATEN.hardtanh else ())
        return _clamped(given, *bounds) if not kwargs else _clamped(given, kwargs.get("min"), kwargs.get("max"))
