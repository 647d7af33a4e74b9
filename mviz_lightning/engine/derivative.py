"""Derivatives of a model's outputs by what one modality feeds in, the other modalities' encodings reused."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.calling import scores
from mviz_lightning.engine.evaluator import CHECKED, Evaluator
from mviz_lightning.engine.input_point import InputPoint
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.query import Derivative, Query, join, numbered
from mviz_lightning.engine.reuse import Plan
from mviz_lightning.engine.slices import WORTHWHILE, Slice, slices

TOLERANCE = 1e-3
"""By how much derivatives may differ, relative to the largest, where encodings are reused."""


@dataclass(frozen=True, kw_only=True)
class DerivativeRequest(Derivative):
    """A derivative of outputs that the rows' own outputs choose, and what to ask for where nothing can be derived.

    Which class is predicted is known only once the model has been asked; ``outputs`` is not read.

    Attributes:
        choose: From ``(R, C)`` outputs of the rows to ``(R,)``: which output of each is derived.
        instead: Rows that are evaluated if the modality cannot be derived, and only then.
    """

    outputs: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    choose: Callable[[Tensor], Tensor]
    instead: Sequence[Query] = ()

    @property
    def most_rows(self) -> int:
        """Rows that are evaluated at the most, beside the rows themselves.

        Second derivatives may be taken, and be 0, before what stands for them is asked for.
        """
        ways = (len(self.rows) * self.steps, len(join(self.instead)[0]) if self.instead else 0)
        return sum(ways) if self.against else max(ways)

    def chosen(self, outputs: Tensor, offset: int = 0) -> tuple[Derivative, Tensor]:
        """Return the derivative without repeats, and ``(R,)`` which of its rows answers each of these.

        Args:
            outputs: ``(R, C)`` of the rows.
            offset: Columns that the model gives in front of its outputs.
        """
        picked = self.choose(outputs) + offset
        distinct, place = torch.unique(numbered([*self.rows.columns, picked]), return_inverse=True)
        first = torch.full((len(distinct),), len(place)).scatter_reduce(0, place, torch.arange(len(place)), "amin")
        return Derivative(self.rows[first], picked[first], self.modality, self.steps, self.against), place


@dataclass(frozen=True)
class Points:
    """Rows and how far each is on the way from the masked modality to the whole one.

    Attributes:
        rows: ``P`` of them.
        outputs: ``(P,)`` which output of each.
        shares: ``(P,)`` in 0..1.
    """

    rows: Query
    outputs: Tensor
    shares: Tensor

    @classmethod
    def of(cls, asked: Derivative) -> "Points":
        """Spell out the steps of every row."""
        count, steps = len(asked.rows), asked.steps
        place = torch.arange(count).repeat_interleave(steps)
        return cls(asked.rows[place], asked.outputs[place], way(steps)[0].repeat(count))

    def __getitem__(self, index: Any) -> "Points":
        return Points(self.rows[index], self.outputs[index], self.shares[index])

    def __len__(self) -> int:
        return len(self.rows)


def way(steps: int) -> tuple[Tensor, Tensor]:
    """Return ``(steps,)`` shares of the way at which is derived, and the weights of what is found there.

    The midpoint rule for ``t = u ** 2``: closer together where the modality is all but masked. There outputs change
    fastest, since layers that normalise blow up what little contrast there is. With 16 steps, integrated gradients of
    a CNN with GroupNorm are 2.6 % from adding up; equal steps left 17 %, Gauss and Legendre's 8 %. Exact for what is
    linear. A single step is the end itself.
    """
    if steps == 1:
        return torch.ones(1), torch.ones(1)
    middle = (torch.arange(steps) + 0.5) / steps
    return middle.square(), 2 * middle / steps


def derive(evaluator: Evaluator, probe: Probe, asked: Derivative) -> Tensor:
    """Return what a derivative asks for, ``(R, ...)`` in float32 on the CPU, of the shape of the entries.

    Encodings of the other modalities, the same at all steps, are run once where reuse is exact; some points are derived
    plainly too, and all of them where they disagree.

    Args:
        evaluator: Asks the model; it is left as it was found.
        probe: The examples that the rows name, with units of the modality.
        asked: What is derived by what.

    Raises:
        ConfigurationError: The modality enters the model in no way that can be derived.
        RuntimeError: No gradient reaches it, or weights were made in inference mode.
    """
    refuse_inference_tensors(evaluator.module)
    points = Points.of(asked)
    evaluator.rows += len(points)
    with isolated(evaluator.module, seed=evaluator.seed), without_cudnn(evaluator.module), evaluator.precision():
        derivation = _Derivation(evaluator, probe, entrance_of(evaluator, probe, asked.rows, asked.modality))
        plan = _of_the_others(evaluator, probe, asked.modality)
        try:
            found = derivation.at(points, plan)
            derivation.check(points, plan)
        except Exception as error:
            if plan is None or ran_out(error):
                raise
            found = derivation.at(points, None)
            evaluator.give_up(plan, error)
    by_step = found.view(len(asked.rows), asked.steps, *found.shape[1:])
    summed: Tensor = torch.tensordot(by_step, way(asked.steps)[1], ([1], [0]))
    return summed


def entrance_of(evaluator: Evaluator, probe: Probe, rows: Query, modality: str) -> InputPoint:
    """Find where a modality enters the model, in an isolated forward of two rows."""
    few = rows[torch.arange(2).clamp(max=len(rows) - 1)]
    batch = probe.batch(few.sources, {}, evaluator.device)
    return InputPoint.find(evaluator.module, evaluator.predict, probe, modality, batch)


def _of_the_others(evaluator: Evaluator, probe: Probe, modality: str) -> Plan | None:
    """Return what of the other modalities can be replayed."""
    plan = evaluator.plan_for(probe) if evaluator.reuse and evaluator.all_pairs is None else None
    if plan is None:
        return None
    own = probe.layout.names.index(modality)
    others = {key: m for key, m in plan.modality.items() if m != own}
    needed = plan.needed | set(probe.layout.values[modality])
    return replace(plan, modality=others, needed=frozenset(needed)) if others else None


@dataclass(frozen=True)
class _Derivation:
    """Derives points of one modality."""

    evaluator: Evaluator
    probe: Probe
    entrance: InputPoint

    def at(self, points: Points, plan: Plan | None) -> Tensor:
        """Return ``(P, ...)``, with what the plan holds of the other modalities replayed."""
        runs = slices(points.rows, self.probe.layout.names, self.evaluator.chunk_size)
        return torch.cat([part for run in runs for part in self._run(points[run.rows], run, plan)])

    def _run(self, points: Points, run: Slice, plan: Plan | None) -> list[Tensor]:
        ask = self.evaluator
        if plan is None or not run.worthwhile:
            return ask.in_chunks(len(points), lambda rows: self._forward(points[rows]), ask.cached_rows)
        recording, index = ask.record(plan, self.probe, run.distinct), run.index.to(ask.device)

        def replayed(rows: slice) -> Tensor:
            return recording.replay(ask.module, index[rows], lambda: self._forward(points[rows], plan.needed))

        return ask.in_chunks(len(points), replayed)

    def _forward(self, points: Points, needed: frozenset[str] | None = None) -> Tensor:
        """Return ``(P, ...)``. A single row is doubled: models that squeeze would lose its batch dimension."""
        count, ask, name = len(points), self.evaluator, self.entrance.modality
        twice = points[torch.arange(max(count, 2)).clamp(max=count - 1)]
        sources, masks = twice.rows.sources, {m: kept for m, kept in twice.rows.masks.items() if m != name}
        own = sources[:, self.probe.layout.names.index(name)]
        segments = max(self.probe.segments[name].count(example) for example in set(own.tolist()))
        nothing = {name: torch.zeros(len(sources), segments, dtype=torch.bool)}
        batch, masked = (self.probe.batch(sources, kept, ask.device, needed) for kept in (masks, {**masks, **nothing}))
        with torch.enable_grad(), self.entrance.open(ask.module, self.probe, batch, masked, twice.shares) as entered:
            outputs = scores(ask.predict(ask.module, entered))
            chosen = outputs.gather(1, twice.outputs.to(outputs.device).unsqueeze(1))
            return self.entrance.derive(chosen)[:count]

    def check(self, points: Points, plan: Plan | None) -> None:
        """Derive some points plainly, if others were not.

        Raises:
            RuntimeError: They differ.
        """
        if plan is None:
            return
        generator = torch.Generator().manual_seed(self.evaluator.seed + self.evaluator.rows)  # others in every run
        some = points[torch.randperm(len(points), generator=generator)[:CHECKED].repeat_interleave(WORTHWHILE)]
        plain, found = self.at(some, None), self.at(some, plan)
        difference, largest = float((plain - found).abs().max()), float(plain.abs().max())
        if difference > TOLERANCE * largest:
            raise RuntimeError(
                f"derivatives differ from plain ones by {difference:.2g}, where they reach {largest:.2g}"
            )


def refuse_inference_tensors(module: nn.Module) -> None:
    """Refuse a model whose weights were born in inference mode: nothing can be derived through them.

    Raises:
        RuntimeError: Some were.
    """
    named = chain(module.named_parameters(), module.named_buffers())
    born = ", ".join([name for name, tensor in named if tensor.is_inference()][:3])
    if born:
        raise RuntimeError(
            f"{born}: made in inference mode, so that nothing can be derived through it. Call the model once before "
            "validate(), or say Trainer(inference_mode=False)."
        )


@contextmanager
def without_cudnn(module: nn.Module) -> Iterator[None]:
    """Run recurrent layers without cuDNN, which derives them in training mode alone."""
    recurrent = any(isinstance(child, nn.RNNBase) for child in module.modules())
    with torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        yield
