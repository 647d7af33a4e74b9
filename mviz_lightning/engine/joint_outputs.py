"""Outputs of several heads from one evaluation, remembered until the other heads ask for the same rows."""

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
"""Largest memory of the outputs that other heads have not asked for yet, in bytes: 256 MiB. The oldest are dropped."""


@dataclass
class _Columns:
    """Puts the outputs of all heads next to one another, and takes them apart again.

    Attributes:
        predict: Computes them.
        readers: Head -> what turns its outputs into one vector a row.
        returned: Head -> shape without rows, and type, of what the model returned for it.
        read: Head -> number of columns, and their type, of what its reader made of that.
    """

    predict: JointPredict
    readers: Mapping[str, OutputReader]
    returned: dict[str, tuple[torch.Size, torch.dtype]] = field(default_factory=dict)
    read: dict[str, tuple[torch.Size, torch.dtype]] = field(default_factory=dict)

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        """Return ``(B, K)``: the outputs of one head behind those of another."""
        found = self.predict(module, batch)
        self.returned = {name: (outputs.shape[1:], outputs.dtype) for name, outputs in found.items()}
        return torch.cat(
            [outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None] for outputs in found.values()], 1
        )

    def rows(self, outputs: Tensor, rows: Query) -> Tensor:
        """Return ``(R, C)``: what each head's reader makes of its outputs, one head behind the other."""
        found = {name: self.readers[name](one, rows) for name, one in _apart(outputs, self.returned).items()}
        self.read = {name: (one.shape[1:], one.dtype) for name, one in found.items()}
        return torch.cat(list(found.values()), 1)

    def apart(self, outputs: Tensor) -> dict[str, Tensor]:
        """Return head -> its columns of ``(R, C)`` outputs, in their own type."""
        return _apart(outputs, self.read)


def _apart(outputs: Tensor, known: Mapping[str, tuple[torch.Size, torch.dtype]]) -> dict[str, Tensor]:
    """Return head -> its part of outputs that stand next to one another, in its own shape and type."""
    parts = torch.split(outputs, [shape.numel() for shape, _ in known.values()], 1)
    return {
        # Sums over rows in another layout would round otherwise than those of the head alone.
        name: part.reshape(len(part), *shape).to(dtype).contiguous()
        for (name, (shape, dtype)), part in zip(known.items(), parts, strict=True)
    }


@dataclass(frozen=True)
class _Remembered:
    """Rows that one head asked for, and the outputs of those that have not asked yet.

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
        """Tell whether these are the same rows of the same examples."""
        same = self.probe.own_shapes is probe.own_shapes and self.way == way and self.probe.has_leaves_of(probe)
        segments = (self.probe.segments.get(name) is probe.segments.get(name) for name in query.masks)
        return same and all(segments) and self.query.equals(query)

    @property
    def bytes(self) -> int:
        """Memory of the outputs."""
        return sum(outputs.nbytes for outputs in self.outputs.values())


class JointOutputs:
    """Evaluates all heads where one of them asks, and remembers what the others will ask for.

    Weights change between the runs of a monitor, so :meth:`forget` ends every run.

    Args:
        predict: Computes the outputs of all heads in one forward.
        evaluators: Head -> its evaluator, the main head first; all are evaluated in chunks of its size, under its
            precision.

    Attributes:
        failed: Whether they could not be computed together; then each head is evaluated alone.
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
        """Whether the model was seen to draw random numbers."""
        return self._evaluator.noisy

    def forget(self) -> None:
        """Drop all outputs: the weights change, or nobody will ask for them."""
        self._remembered.clear()

    def evaluator_of(self, name: str, evaluator: Evaluator) -> "HeadEvaluator":
        """Return an evaluator of a head that shares its rows with the others; it is read as it is here."""
        return HeadEvaluator.of(replace(evaluator, reader=self.readers[name]), name, self)

    def take(self, name: str, probe: Probe, query: Query, way: tuple[Any, ...]) -> Tensor | None:
        """Return, once, the outputs of a head that are remembered; None if there are none."""
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
            self._evaluator = replace(self._evaluator, predict=evaluator.predict)  # which may share noise from now on
            return outputs

        return self._evaluated(name, probe, query, ("plain", seed, chunk_size), evaluate)

    def _evaluated(
        self, name: str, probe: Probe, query: Query, way: tuple[Any, ...], evaluate: Callable[[], Tensor]
    ) -> Tensor | None:
        if self.failed:
            return None
        try:
            outputs = self._columns.apart(evaluate())
        except Exception as error:  # a head that fails costs itself: each is evaluated alone from now on
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
    """Evaluates one of several heads: rows that another head asked for before cost nothing.

    It stands in for an evaluator only as long as ``predict`` is the head's own call: a copy with another call, such as
    one that returns features too, evaluates alone.

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
        """Return the outputs that another head asked for before; None if none did."""
        found = joint.take(self.name, probe, query, way)
        self.remembered += 0 if found is None else len(query)
        return found

    @property
    def noisy(self) -> bool:
        """Whether the model was seen to draw random numbers, by this head or by all together."""
        joint = self._shared
        return super().noisy or (joint is not None and joint.noisy)

    @property
    def _shared(self) -> JointOutputs | None:
        """The outputs of all heads; None where this evaluator returns something else than them."""
        joint = self.joint
        own = own_call(self.predict) is self.own and self.all_pairs is None
        return joint if joint is not None and own and joint.readers[self.name] is own_reader(self.reader) else None

    def _read(self, outputs: Tensor) -> Tensor:
        """Return what is decomposed in place of the head's outputs."""
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
    """Return a head's own call of the model, without what wraps it."""
    return list(_calls(predict))[-1]


def _alone(evaluator: Evaluator) -> Evaluator:
    return replace(evaluator, joint=None) if isinstance(evaluator, HeadEvaluator) else evaluator


def with_joint(
    evaluators: Mapping[str, Evaluator], predict: JointPredict | None
) -> tuple[dict[str, Evaluator], JointOutputs | None]:
    """Return evaluators that share their rows, and what they share; as they are where nothing can be shared.

    Args:
        evaluators: Head -> its evaluator, the main head first.
        predict: Computes the outputs of all heads in one forward; None if nothing does.
    """
    if predict is None or len(evaluators) < 2 or any(one.all_pairs is not None for one in evaluators.values()):
        return {name: _alone(one) for name, one in evaluators.items()}, None
    joint = JointOutputs(predict, evaluators)
    return {name: HeadEvaluator.of(one, name, joint) for name, one in evaluators.items()}, joint
