"""Call a model that draws random numbers so that every row of a forward gets the same noise (common random numbers).

The outputs of a row are then a function of this row and of the seed alone. They do not depend on the other rows, on the
chunks or on replayed encodings. The measured effect of a modality is its effect at fixed noise (Glasserman & Yao 1992).
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.devices import without_cudnn
from mviz_lightning.engine.generators import Generators, default_generator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.row_noise import Draw, Rows, shared_by_rows
from mviz_lightning.engine.shape_buckets import alike

LEARNED_ROWS = (6, 4)
"""Numbers of rows of two trial forwards.

The rows lie in the dimension of the noise that has size 6 in the first and 4 in the second, or multiples of these.
"""

DrawKey: TypeAlias = tuple[tuple[str, int], int]
"""A call of a submodule, ``("encoder", 0)``, or ``("", 0)`` outside all of them; and the number of the draw in it."""


@dataclass(frozen=True)
class NoiseLayout:
    """Where the rows are in the noise that a forward draws.

    Attributes:
        axes: Draw -> the dimension of its noise that holds the rows, and the number of entries of each row; None where
            the noise belongs to no row, for example noise of weights.
        calls: Name of a submodule that is called for each row separately -> its calls for one row.
        draws: Call of a submodule that draws for each row separately -> its draws for one row.
        fused: Whether some noise is drawn inside a kernel, which has to be replaced.
    """

    axes: Mapping[DrawKey, tuple[int, int] | None] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    draws: Mapping[tuple[str, int], int] = field(default_factory=dict)
    fused: bool = False

    def numbered(self, name: str, number: int) -> tuple[str, int]:
        """Return the key of a call; a call for another row has the key of the call for the first row."""
        return name, number % self.calls.get(name, number + 1)

    def key(self, call: tuple[str, int], ordinal: int) -> DrawKey:
        """Return the key of a draw; a draw for another row has the key of the draw for the first row."""
        return call, ordinal % self.draws.get(call, ordinal + 1)

    def rows(self, key: DrawKey, shape: tuple[int, ...], count: int) -> Rows | None:
        """Return where ``count`` rows are in a noise of this shape; None where it belongs to no row."""
        usual = (0, 1) if shape and shape[0] == count else None
        found = self.axes.get(key, usual)
        if found is None or len(shape) <= found[0] or shape[found[0]] != count * found[1]:
            return None
        return Rows(found[0], count, found[1])


@dataclass(frozen=True)
class SharedNoise:
    """A call of the model in which every row gets the same noise; the generators are seeded again after it.

    Attributes:
        predict: Calls the model.
        probe: Some examples; their schema gives the number of rows of a batch.
        layout: Where the rows are in the noise that a forward draws.
    """

    predict: Predict
    probe: Probe
    layout: NoiseLayout

    @classmethod
    def of(cls, predict: Predict, module: nn.Module, probe: Probe, device: torch.device) -> "SharedNoise":
        """Return a call that shares the noise; two forwards of a few rows show what is drawn.

        Args:
            predict: Calls the model.
            module: The user's model, isolated.
            probe: Some examples.
            device: The model's device.
        """
        large, small = (_drawn_by(predict, module, probe, rows, device) for rows in LEARNED_ROWS)
        return cls(predict, probe, _layout(large, small))

    def __call__(self, module: nn.Module, batch: Any) -> Any:
        """Return the outputs of a batch, every row with the same noise."""
        generators = Generators.running()
        seed = 0 if generators is None else generators.seed
        schema = self.probe.schema
        mode = _NoiseMode(_Frames(module, self.layout), seed, schema.size(schema.leaves(batch)))
        with ExitStack() as stack:
            if generators is not None:
                generators.reset()
                stack.callback(generators.reset)
            if self.layout.fused:
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                stack.enter_context(without_cudnn())
            stack.enter_context(mode.frames.followed())
            stack.enter_context(mode)
            return self.predict(module, batch)


def shares_noise(call: Any) -> bool:
    """Return whether a call, or a call inside it, shares the noise: the model was then observed to draw."""
    while not isinstance(call, SharedNoise):
        if not hasattr(call, "predict"):
            return False
        call = call.predict
    return True


class _Frames:
    """Numbers the draws of one forward by the call of a submodule in which they are made."""

    def __init__(self, module: nn.Module, layout: NoiseLayout) -> None:
        self.layout = layout
        self.calls: Counter[str] = Counter()
        self.draws: Counter[tuple[str, int]] = Counter()
        self._names = {id(child): name for name, child in module.named_modules()}
        self._open: list[tuple[str, int]] = []

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the calls of all modules inside the block."""
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, _: Any) -> None:
        name = self._names.get(id(module), type(module).__name__)
        self._open.append(call := self.layout.numbered(name, self.calls[name]))
        self.calls[name] += 1
        self.draws[call] = 0  # calls for other rows draw the same as the call for the first one

    def _leave(self, *_: Any) -> None:
        if self._open:
            self._open.pop()

    def next_draw(self) -> DrawKey:
        """Return the key of the next draw."""
        call = self._open[-1] if self._open else ("", 0)
        self.draws[call] += 1
        return self.layout.key(call, self.draws[call] - 1)


class _NoiseMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs random operations with the same noise for every row.

    Each draw has its own seed, made from its position in the model. So a replayed submodule, which draws nothing,
    changes no other draw.
    """

    supports_higher_order_operators = True

    def __init__(
        self, frames: _Frames, seed: int, rows: int, noted: Callable[[DrawKey, Draw], None] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.frames = frames
        self._seed, self._rows, self._noted = seed, rows, noted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation."""
        draw = Draw.of(func, args, kwargs or {})
        if draw is None:
            return func(*args, **(kwargs or {}))
        key = self.frames.next_draw()
        if self._noted is not None:
            self._noted(key, draw)
        generator = None if draw.generator is not None else default_generator(draw.device)
        if generator is not None:
            generator.manual_seed(zlib.crc32(repr((self._seed, key)).encode()))
        rows = self.frames.layout.rows(key, draw.shape, self._rows)
        return draw.run() if rows is None else shared_by_rows(draw, rows)


@dataclass
class _Drawn:
    """What one forward drew.

    Attributes:
        frames: Numbers of calls and draws.
        shapes: Draw -> shape of its noise.
        fused: Whether some noise was drawn inside of a kernel.
    """

    frames: _Frames
    shapes: dict[DrawKey, tuple[int, ...]] = field(default_factory=dict)
    fused: bool = False

    def note(self, key: DrawKey, draw: Draw) -> None:
        """Note a draw."""
        self.shapes[key] = draw.shape
        self.fused |= draw.fused


def _drawn_by(predict: Predict, module: nn.Module, probe: Probe, rows: int, device: torch.device) -> _Drawn:
    batch = probe.batch(alike(probe, rows).sources, {}, device)
    drawn = _Drawn(_Frames(module, NoiseLayout()))
    # A number of -1 rows fits no shape, so this forward draws its noise unchanged.
    with drawn.frames.followed(), _NoiseMode(drawn.frames, 0, -1, drawn.note):
        predict(module, batch)
    return drawn


def _layout(large: _Drawn, small: _Drawn) -> NoiseLayout:
    calls = _for_one_row(large.frames.calls, small.frames.calls)
    draws = _for_one_row(large.frames.draws, small.frames.draws)
    pairs = {key: (shape, small.shapes[key]) for key, shape in large.shapes.items() if key in small.shapes}
    return NoiseLayout({key: _axis(*pair) for key, pair in pairs.items()}, calls, draws, large.fused)


def _for_one_row(large: Mapping[Any, int], small: Mapping[Any, int]) -> dict[Any, int]:
    """Return the number of events for one row, for events (calls or draws) that happen for each row separately."""
    many, few = LEARNED_ROWS
    ratios = {key: (count, small.get(key, 0)) for key, count in large.items()}
    return {key: a // many for key, (a, b) in ratios.items() if a and a % many == 0 and a * few == b * many}


def _axis(large: tuple[int, ...], small: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the one dimension in which shapes of 6 and of 4 rows differ, and each row's entries in it."""
    many, few = LEARNED_ROWS
    differing = [axis for axis, sizes in enumerate(zip(large, small, strict=False)) if sizes[0] != sizes[1]]
    if len(large) != len(small) or len(differing) != 1:
        return None
    axis = differing[0]
    return (axis, large[axis] // many) if large[axis] * few == small[axis] * many and not large[axis] % many else None
