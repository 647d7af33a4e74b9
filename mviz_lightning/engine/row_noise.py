"""Random operations of PyTorch: draw for one row, and give every row of a forward the same noise.

Only the noise is shared, uniform or normal numbers. Each row keeps its own parameters, so two rows with equal
parameters get equal samples (common random numbers).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.engine.generators import default_generator

aten = torch.ops.aten

FUSED = ("_scaled_dot_product", "_flash_attention", "_efficient_attention", "_cudnn_rnn", "miopen_rnn")
"""Prefixes of the names of operations that draw noise inside a kernel, where it cannot be drawn for one row."""

INACTIVE = {"dropout_p": (0, 0.0), "dropout": (0, 0.0), "p": (0, 0.0), "train": (False,), "training": (False,)}
"""Name of an argument -> its values that turn the noise of an operation off."""


@dataclass(frozen=True)
class Draw:
    """One call of a random operation.

    Attributes:
        func: The operation.
        named: All of its arguments by name.
    """

    func: Any
    named: Mapping[str, Any]

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "Draw | None":
        """Return a call of an operation as a draw; None if it draws nothing."""
        if not _can_draw(func):
            return None
        names = [argument.name for argument in func._schema.arguments]
        defaults = {one.name: one.default_value for one in func._schema.arguments if one.has_default_value()}
        named = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        if any(named.get(name, ...) in without for name, without in INACTIVE.items() if name != "p" or _drops(func)):
            return None
        return cls(func, named)

    @property
    def name(self) -> str:
        """Name of the operation: ``normal_``."""
        return str(self.func._overloadpacket.__name__)

    @property
    def fused(self) -> bool:
        """Whether the noise is drawn inside of a kernel."""
        return self.name.startswith(FUSED)

    @property
    def generator(self) -> torch.Generator | None:
        """The generator that the user gave."""
        return self.named.get("generator")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The arguments that are tensors."""
        return {name: value for name, value in self.named.items() if isinstance(value, Tensor)}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the noise; ``()`` where none can be shared."""
        if self.fused:
            return ()
        if "size" in self.named:
            return tuple(self.named["size"])
        tensors = list(self.tensors.values()) if self.written is None else [self.written]
        shapes = (tensor.shape for tensor in tensors)
        return tuple(torch.broadcast_shapes(*shapes)) if tensors else ()  # type: ignore[no-untyped-call]

    @property
    def written(self) -> Tensor | None:
        """The argument that the result is written into; None where the operation makes a tensor."""
        found: Tensor | None = self.named.get("out", self.named["self"] if self.name.endswith("_") else None)
        return found

    def into_written(self, result: Tensor) -> Tensor:
        """Return the result, written into the argument that it belongs to if there is one."""
        return result if self.written is None else self.written.copy_(result)

    @property
    def device(self) -> torch.device:
        """Where the noise is drawn."""
        found = next((tensor.device for tensor in self.tensors.values()), self.named.get("device"))
        return torch.device("cpu") if found is None else torch.device(found)

    def run(self) -> Any:
        """Run the operation as it is."""
        return _called(self.func, self.named)

    def changed(self, named: Mapping[str, Any]) -> "Draw":
        """Return the same call with some other arguments."""
        return replace(self, named={**self.named, **named})


@dataclass(frozen=True)
class Rows:
    """Where the rows of a forward lie in a shape.

    Attributes:
        axis: The dimension.
        count: Number of rows.
        each: Number of adjacent entries of this dimension that belong to each row.
    """

    axis: int
    count: int
    each: int

    def first(self, tensor: Tensor) -> Tensor:
        """Return a tensor's part of the first row; all of it where it has no rows."""
        axis = self._axis_in(tensor)
        return tensor if axis is None else tensor.narrow(axis, 0, self.each)

    def part(self, tensor: Tensor, row: int, rank: int) -> Tensor:
        """Return a tensor's part of a row; all of it where it has no rows.

        Args:
            tensor: A tensor that is broadcast to ``rank`` dimensions.
            row: The row.
            rank: Number of dimensions of the shape in which :attr:`axis` is counted.
        """
        axis = self.axis - (rank - tensor.dim())
        whole = axis < 0 or tensor.shape[axis] != self.count * self.each
        return tensor if whole else tensor.narrow(axis, row * self.each, self.each)

    def spread(self, noise: Tensor) -> Tensor:
        """Return the noise of one row, repeated for every row."""
        return noise.repeat(*(self.count if axis == self.axis else 1 for axis in range(noise.dim())))

    def one(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one row."""
        return (*shape[: self.axis], self.each, *shape[self.axis + 1 :])

    def _axis_in(self, tensor: Tensor) -> int | None:
        return self.axis if tensor.dim() > self.axis and tensor.shape[self.axis] == self.count * self.each else None


Drawing: TypeAlias = Callable[[Draw, Rows], Any]
"""Draws for one row and returns the result of all rows."""


def shared_by_rows(draw: Draw, rows: Rows) -> Any:
    """Run a random operation with the same noise in every row.

    Args:
        draw: The operation.
        rows: Where the rows lie in the shape of its noise.
    """
    known = _DRAWINGS.get(draw.name)
    if known is not None:
        return known(draw, rows)
    if "size" in draw.named:
        return _made(draw, rows)
    if len(draw.tensors) == 1 and (draw.name.endswith(("_", "_like"))):
        return _of_first_row(draw, rows)
    return _row_by_row(draw, rows)


def _made(draw: Draw, rows: Rows) -> Tensor:
    """Draw for one row with an operation that is given a size."""
    out = {} if draw.written is None else {"out": rows.first(draw.written).clone()}
    return draw.into_written(rows.spread(draw.changed({"size": list(rows.one(draw.shape)), **out}).run()))


def _of_first_row(draw: Draw, rows: Rows) -> Tensor:
    """Draw for the first row with an operation that reads only the shape of its tensor."""
    first = rows.first(draw.named["self"]).clone()
    return draw.into_written(rows.spread(draw.changed({"self": first}).run()))


def _row_by_row(draw: Draw, rows: Rows) -> Any:
    """Run an operation once for each row, from the same state of the generator: slow, but right for all operations."""
    generator, found = draw.generator or default_generator(draw.device), []
    if generator is None:
        return draw.run()
    start, rank = generator.get_state(), len(draw.shape)
    for row in range(rows.count):
        generator.set_state(start)
        own = {name: rows.part(tensor, row, rank) for name, tensor in draw.tensors.items()}
        found.append(draw.changed(own).run())
    # How many numbers each row takes from the generator depends on its parameters; later draws must not depend on them.
    generator.set_state(start)
    torch.rand((), generator=generator, device=draw.device)
    return _joined(found, rows.axis) if draw.written is None else draw.written


def _joined(found: list[Any], axis: int) -> Any:
    if isinstance(found[0], tuple):
        return tuple(torch.cat(parts, axis) for parts in zip(*found, strict=True))
    return torch.cat(found, axis)


def _uniform(draw: Draw, rows: Rows, like: Tensor) -> Tensor:
    """Return uniform numbers in 0..1, the same for every row."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    noise = torch.rand(rows.one(draw.shape), generator=draw.generator, dtype=dtype, device=like.device)
    return rows.spread(noise)


def _bernoulli(draw: Draw, rows: Rows) -> Tensor:
    own: Tensor = draw.named["self"]
    given = draw.named.get("p", own)
    if not isinstance(given, Tensor):
        return _of_first_row(draw, rows)
    return draw.into_written((_uniform(draw, rows, given) < given).to(own.dtype))


def _normal(draw: Draw, rows: Rows) -> Tensor:
    if "size" in draw.named:
        return _made(draw, rows)
    mean, std = draw.named["mean"], draw.named["std"]
    like = mean if isinstance(mean, Tensor) else std
    noise = torch.empty(rows.one(draw.shape), dtype=like.dtype, device=like.device)
    return draw.into_written(mean + std * rows.spread(noise.normal_(generator=draw.generator)))


def _multinomial(draw: Draw, rows: Rows) -> Tensor:
    """Sample categories: by the inverse of the distribution function, or as the smallest of exponential times."""
    weights, count = draw.named["self"], int(draw.named["num_samples"])
    if weights.dim() == 1:
        alone: Tensor = draw.run()
        return alone
    weights = weights.float() if torch.finfo(weights.dtype).bits < 32 else weights
    one = weights.narrow(0, 0, rows.each)
    if draw.named.get("replacement") or count == 1:
        below = weights.cumsum(1)
        noise = torch.rand((len(one), count), generator=draw.generator, dtype=weights.dtype, device=weights.device)
        found: Tensor = torch.searchsorted(below, rows.spread(noise) * below[:, -1:], right=True)
        last = (weights > 0).long().mul(torch.arange(1, weights.shape[1] + 1, device=weights.device)).amax(1) - 1
        kept: Tensor = torch.minimum(found, last[:, None])  # rounding may lead past the last possible category
        return kept
    times = torch.empty_like(one).exponential_(generator=draw.generator)
    first: Tensor = (weights / rows.spread(times)).topk(count, 1).indices
    return first


def _dropout(draw: Draw, rows: Rows) -> tuple[Tensor, Tensor]:
    """Drop the same entries in every row; ``native_dropout`` drops a share ``p``, ``_fused_dropout`` keeps it."""
    given: Tensor = next(iter(draw.tensors.values()))
    name = next(iter(draw.tensors))
    kept = rows.spread(draw.changed({name: torch.ones_like(rows.first(given))}).run()[1])
    share = draw.named["p"] if draw.name == "_fused_dropout" else 1 - draw.named["p"]
    dropped: Tensor = given * kept.to(given.dtype) / share
    return dropped, kept


_DRAWINGS: Mapping[str, Drawing] = {
    "bernoulli": _bernoulli,
    "bernoulli_": _bernoulli,
    "normal": _normal,
    "multinomial": _multinomial,
    "native_dropout": _dropout,
    "_fused_dropout": _dropout,
}
"""Name of an operation whose parameters may differ by row -> how it is drawn; all others run row by row."""


@cache
def _can_draw(func: Any) -> bool:
    """Return whether an operation can draw random numbers: PyTorch tags it, or it takes a generator."""
    if torch.Tag.nondeterministic_seeded in func.tags:
        return not func._overloadpacket.__name__.endswith("_backward")
    return any(argument.name == "generator" for argument in func._schema.arguments)


def _drops(func: Any) -> bool:
    return "dropout" in str(func._overloadpacket.__name__)


def _called(func: Any, named: Mapping[str, Any]) -> Any:
    arguments = [one for one in func._schema.arguments if one.name in named]
    args = [named[one.name] for one in arguments if not one.kwarg_only]
    kwargs = {one.name: named[one.name] for one in arguments if one.kwarg_only and named[one.name] is not None}
    return func(*args, **kwargs)
