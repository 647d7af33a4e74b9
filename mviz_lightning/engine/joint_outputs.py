"""Outputs of several heads from one evaluation, kept until the other heads request the same rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.decomposed_calls import DecomposedCall, DecomposedReader, own_reader
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.output_reader import OutputReader
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.shared_noise import SharedNoise

JointPredict: TypeAlias = Callable[[nn.Module, Any], Mapping[str, Any]]
"""``(module, batch) -> head -> outputs``, from one forward."""

REMEMBERED_BYTES = 256 * 2**20
"""Largest memory of outputs that other heads have not requested yet, in bytes: 256 MiB. The oldest are dropped."""


@dataclass
class _Columns:
    """Joins the outputs of all heads side by side, and splits them again.

    Attributes:
        predict: Computes them.
        readers: Head -> the reader that turns its outputs into one vector a row.
        returned: Head -> shape without rows, and type, of what the model returned for it.
        read: Head -> number of columns, and type, of what its reader returned.
    """

    predict: JointPredict
    readers: Mapping[str, OutputReader]
    returned: dict[str, tuple[torch.Size, torch.dtype]] = field(default_factory=dict)
    read: dict[str, tuple[torch.Size, torch.dtype]] = field(default_factory=dict)

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        """Return ``(B, K)``: the outputs of all heads side by side."""
        found = self.predict(module, batch)
        self.returned = {name: (outputs.shape[1:], outputs.dtype) for name, outputs in found.items()}
        return torch.cat(
            [outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None] for outputs in found.values()], 1
        )

    def rows(self, outputs: Tensor, rows: Query) -> Tensor:
        """Return ``(R, C)``: the results of the heads' readers side by side."""
        found = {name: self.readers[name](one, rows) for name, one in _apart(outputs, self.returned).items()}
        self.read = {name: (one.shape[1:], one.dtype) for name, one in found.items()}
        return torch.cat(list(found.values()), 1)

    def apart(self, outputs: Tensor) -> dict[str, Tensor]:
        """Return head -> its columns of ``(R, C)`` outputs, in their own type."""
        return _apart(outputs, self.read)


def _apart(outputs: Tensor, known: Mapping[str, tuple[torch.Size, torch.dtype]]) -> dict[str, Tensor]:
    """Return head -> its part of outputs that are side by side, in its own shape and type."""
    parts = torch.split(outputs, [shape.numel() for shape, _ in known.values()], 1)
    return {
        # In another memory layout, sums over rows would be rounded differently than those of the head alone.
        name: part.reshape(len(part), *shape).to(dtype).contiguous()
        for (name, (shape, dtype)), part in zip(known.items(), parts, strict=True)
    }


@dataclass(frozen=True)
class _Remembered:
    """Rows that one head requested, and the outputs of the heads that have not requested them yet.

    Attributes:
        probe: The examples.
        query: The rows.
        way: How they were evaluated: with reuse or plainly, and the seed.
        outputs: Head -> ``(R, C)``.
    """

    probe: Probe
    query: Query
    way: tuple[Any, ...]
    outputs: dict[str, Tensor]

    def answers(self, probe: Probe, query: Query, way: tuple[Any, ...]) -> bool:
        """Return whether these are the same rows of the same examples, evaluated in the same way."""
        same = self.probe.own_shapes is probe.own_shapes and self.way == way and self.probe.has_leaves_of(probe)
        segments = (self.probe.segments.get(name) is probe.segments.get(name) for name in query.masks)
        return same and all(segments) and self.query.equals(query)

    @property
    def bytes(self) -> int:
        """Memory of the outputs."""
        return sum(outputs.nbytes for outputs in self.outputs.values())


class JointOutputs:
    """Evaluates all heads when one of them needs outputs, and keeps the outputs of the others.

    Weights change between the runs of a monitor, so every run ends with :meth:`forget`.

    Args:
        predict: Computes the outputs of all heads in one forward.
        evaluators: Head -> its evaluator, the main head first. All heads are evaluated with the main head's chunk size
            and precision.

    Attributes:
        failed: Whether the heads could not be computed together; then each head is evaluated alone.
    """

    def __init__(self, predict: JointPredict, evaluators: Mapping[str, Evaluator]) -> None:
        self.failed = False
        self.readers = {name: one.reader for name, one in evaluators.items()}
        self._columns, self._remembered = _Columns(predict, self.readers), list[_Remembered]()
        main, reuse = next(iter(evaluators.values())), all(one.reuse for one in evaluators.values())
        given = main.module, self._columns, main.chunk_size, main.precision, main.seed, reuse
        self._evaluator = Evaluator(*given, reader=self._columns.rows)

    @property
    def noisy(self) -> bool:
        """Whether the model was observed to draw random numbers."""
        return self._evaluator.noisy

    def forget(self) -> None:
        """Drop all outputs: the weights change, or no head will need them."""
        self._remembered.clear()

    def evaluator_of(self, name: str, evaluator: Evaluator) -> "HeadEvaluator":
        """Return an evaluator of a head that shares its rows with the others; its reader is the one in ``readers``."""
        return HeadEvaluator.of(replace(evaluator, reader=self.readers[name]), name, self)

    def take(self, name: str, probe: Probe, query: Query, way: tuple[Any, ...]) -> Tensor | None:
        """Return the kept outputs of a head and drop them; None if there are none."""
        for one in self._remembered:
            if name in one.outputs and one.answers(probe, query, way):
                return one.outputs.pop(name)
        return None

    def reusing(self, name: str, probe: Probe, query: Query, seed: int) -> Tensor | None:
        """Return ``(R, C)`` outputs of a head at one draw, evaluated for all heads with reuse; None if that fails."""

        def evaluate() -> Tensor:
            self._evaluator = replace(self._evaluator, seed=seed)
            return self._evaluator(probe, [query], len(query))[0]

        return self._evaluated(name, probe, query, ("reuse", seed), evaluate)

    def plain(self, name: str, probe: Probe, query: Query, seed: int, chunk_size: int) -> Tensor | None:
        """Return ``(R, C)`` outputs of a head at one draw, evaluated for all without reuse; None if that fails."""

        def evaluate() -> Tensor:
            evaluator = replace(self._evaluator, seed=seed, chunk_size=chunk_size)
            outputs = evaluator.plain(probe, query)
            self._evaluator = replace(self._evaluator, predict=evaluator.predict)  # it may share noise from now on
            return outputs

        return self._evaluated(name, probe, query, ("plain", seed, chunk_size), evaluate)

    def _evaluated(
        self, name: str, probe: Probe, query: Query, way: tuple[Any, ...], evaluate: Callable[[], Tensor]
    ) -> Tensor | None:
        if self.failed:
            return None
        try:
            outputs = self._columns.apart(evaluate())
        except Exception as error:  # from now on each head is evaluated alone, so that a failing head costs only itself
            if ran_out(error):
                raise
            self.failed = True
            self.forget()
            return None
        own = outputs.pop(name)
        self._remember(_Remembered(probe, query, way, outputs))
        return own

    def _remember(self, found: _Remembered) -> None:
        kept = [one for one in self._remembered if one.outputs and not one.answers(found.probe, found.query, found.way)]
        kept.append(found)
        while len(kept) > 1 and sum(one.bytes for one in kept) > REMEMBERED_BYTES:
            kept.pop(0)
        self._remembered = kept


@dataclass
class HeadEvaluator(Evaluator):
    """Evaluates one of several heads; rows that another head requested before cost nothing.

    Rows are shared only while ``predict`` is the head's own call: a copy with another call, such as one that returns
    features too, evaluates alone.

    Attributes:
        name: Name of the head.
        own: The head's own call.
        joint: The outputs of all heads; None evaluates the head alone.
    """

    name: str = ""
    own: Any = None
    joint: JointOutputs | None = None

    @classmethod
    def of(cls, evaluator: Evaluator, name: str, joint: JointOutputs | None) -> "HeadEvaluator":
        """Return an evaluator that shares rows with the other heads."""
        given = {name: value for name, value in vars(evaluator).items() if name not in ("name", "own", "joint")}
        return cls(**given, name=name, own=own_call(evaluator.predict), joint=joint)

    def _draw(self, probe: Probe, query: Query, count: int) -> Tensor:
        joint = self._shared
        found = None if joint is None else self._taken(joint, probe, query, ("reuse", self.seed))
        if joint is not None and found is None:
            found = joint.reusing(self.name, probe, query, self.seed)
            self.rows += 0 if found is None else count
        return super()._draw(probe, query, count) if found is None else self._read(found)

    def plain_draw(self, probe: Probe, query: Query) -> Tensor:
        """Return ``(R, C)`` outputs of all rows at one draw, without reuse; see :meth:`Evaluator.plain_draw`."""
        joint = self._shared
        found = None if joint is None else self._taken(joint, probe, query, ("plain", self.seed, self.chunk_size))
        if joint is not None and found is None:
            found = joint.plain(self.name, probe, query, self.seed, self.chunk_size)
        return super().plain_draw(probe, query) if found is None else self._read(found)

    def _taken(self, joint: JointOutputs, probe: Probe, query: Query, way: tuple[Any, ...]) -> Tensor | None:
        """Return the outputs that were kept when another head requested these rows; None if there are none."""
        found = joint.take(self.name, probe, query, way)
        self.remembered += 0 if found is None else len(query)
        return found

    @property
    def noisy(self) -> bool:
        """Whether the model was observed to draw random numbers, for this head or for all together."""
        joint = self._shared
        return super().noisy or (joint is not None and joint.noisy)

    @property
    def _shared(self) -> JointOutputs | None:
        """The outputs of all heads; None where this evaluator returns something else."""
        joint = self.joint
        own = own_call(self.predict) is self.own and self.all_pairs is None
        return joint if joint is not None and own and joint.readers[self.name] is own_reader(self.reader) else None

    def _read(self, outputs: Tensor) -> Tensor:
        """Return the quantity to decompose for the head's outputs."""
        if isinstance(self.reader, DecomposedReader):
            return self.reader.of_rows(outputs)
        call = next((one for one in _calls(self.predict) if isinstance(one, DecomposedCall)), None)
        return outputs if call is None else call.of(outputs)


def _calls(predict: Any) -> Iterator[Any]:
    """Yield a call, and the calls that it wraps: in shared noise, or to decompose what they return."""
    yield predict
    while isinstance(predict, DecomposedCall | SharedNoise):
        predict = predict.predict
        yield predict


def own_call(predict: Any) -> Any:
    """Return a head's own call of the model, without the calls around it."""
    return list(_calls(predict))[-1]


def _alone(evaluator: Evaluator) -> Evaluator:
    return replace(evaluator, joint=None) if isinstance(evaluator, HeadEvaluator) else evaluator


def with_joint(
    evaluators: Mapping[str, Evaluator], predict: JointPredict | None
) -> tuple[dict[str, Evaluator], JointOutputs | None]:
    """Return evaluators that share their rows, and the shared outputs; plain ones and None if nothing can be shared.

    Args:
        evaluators: Head -> its evaluator, the main head first.
        predict: Computes the outputs of all heads in one forward; None if nothing does.
    """
    if predict is None or len(evaluators) < 2 or any(one.all_pairs is not None for one in evaluators.values()):
        return {name: _alone(one) for name, one in evaluators.items()}, None
    joint = JointOutputs(predict, evaluators)
    return {name: HeadEvaluator.of(one, name, joint) for name, one in evaluators.items()}, joint
