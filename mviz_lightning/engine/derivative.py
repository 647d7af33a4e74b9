"""Derivatives of a model's outputs with respect to one modality; the other modalities' encodings are reused."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.rows import largest_bytes
from mviz_lightning.engine.devices import without_cudnn
from mviz_lightning.engine.evaluator import FEWEST_ROWS, Evaluator
from mviz_lightning.engine.input_point import InputPoint
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.query import Derivative, Query, join, row_numbers
from mviz_lightning.engine.reuse_plan import Plan
from mviz_lightning.engine.row_runs import WORTHWHILE, RowRun, row_runs
from mviz_lightning.engine.row_tokens import RowTokens
from mviz_lightning.engine.shape_buckets import in_buckets

TOLERANCE = 1e-3
"""Largest difference between derivatives with reused encodings and plain ones, as a fraction of the largest plain one.

Ten times the tolerance of outputs: a derivative also sums the rounding errors of the backward pass.
"""

POINTS_BYTES = 96 * 2**20
"""Largest size of one forward's points, in bytes: 160 images of 224 x 224. The forward holds seven times as much."""

DERIVATIVE_BYTES = 256 * 2**20
"""Largest size of the derivatives that are held until the steps of their rows are summed, in bytes."""


@dataclass(frozen=True, kw_only=True)
class DerivativeRequest(Derivative):
    """A derivative of outputs that are chosen after the rows were evaluated, with queries to evaluate if it fails.

    The predicted class, for example, is known only after the evaluation. The attribute ``outputs`` is not used.

    Attributes:
        choose: Takes the rows' ``(R, C)`` outputs and returns ``(R,)``: the output to derive for each row.
        instead: Queries that are evaluated only if the model cannot be derived with respect to the modality.
    """

    outputs: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    choose: Callable[[Tensor], Tensor]
    instead: Sequence[Query] = ()

    @property
    def most_rows(self) -> int:
        """Largest number of rows that the request may evaluate beyond the rows themselves.

        A second derivative may turn out to be 0 everywhere; then both it and the queries of ``instead`` are evaluated.
        """
        costs = (len(self.rows) * self.steps, len(join(self.instead)[0]) if self.instead else 0)
        return sum(costs) if self.against else max(costs)

    def chosen(self, outputs: Tensor, offset: int = 0) -> tuple[Derivative, Tensor]:
        """Choose the outputs and drop repeated rows.

        Args:
            outputs: ``(R, C)`` outputs of the rows.
            offset: Number of columns, features for example, that ``predict`` returns in front of the outputs.

        Returns:
            The derivative of the distinct rows, and ``(R,)`` the distinct row that answers each row.
        """
        picked = self.choose(outputs) + offset
        distinct, place = torch.unique(row_numbers([*self.rows.columns, picked]), return_inverse=True)
        first = torch.full((len(distinct),), len(place)).scatter_reduce(0, place, torch.arange(len(place)), "amin")
        return Derivative(self.rows[first], picked[first], self.modality, self.steps, self.against), place


@dataclass(frozen=True)
class Points:
    """Points on the straight line from a row with the modality masked (0) to the row itself (1).

    Attributes:
        rows: P rows.
        outputs: ``(P,)`` the output of each row that is derived.
        shares: ``(P,)`` each point's position on the line, in 0..1.
    """

    rows: Query
    outputs: Tensor
    shares: Tensor

    @classmethod
    def of(cls, derivative: Derivative) -> "Points":
        """Return the points of all steps of every row; the steps of a row are consecutive."""
        count, steps = len(derivative.rows), derivative.steps
        place = torch.arange(count).repeat_interleave(steps)
        return cls(derivative.rows[place], derivative.outputs[place], integration_points(steps)[0].repeat(count))

    def __getitem__(self, index: Any) -> "Points":
        return Points(self.rows[index], self.outputs[index], self.shares[index])

    def __len__(self) -> int:
        return len(self.rows)


def integration_points(steps: int) -> tuple[Tensor, Tensor]:
    """Return the ``(steps,)`` positions in 0..1 at which to derive, and the ``(steps,)`` weights of the derivatives.

    This is the midpoint rule for ``t = u ** 2``, whose points are denser near the masked end. Outputs change fastest
    there, since normalisation layers amplify a weak input. With 16 steps, integrated gradients of a CNN with GroupNorm
    differ from the difference of the outputs by 2.6 %; with equal steps by 17 %, with Gauss-Legendre points by 8 %.
    The rule is exact for linear models. A single step lies at position 1.
    """
    if steps == 1:
        return torch.ones(1), torch.ones(1)
    middle = (torch.arange(steps) + 0.5) / steps
    return middle.square(), 2 * middle / steps


def derive(evaluator: Evaluator, probe: Probe, derivative: Derivative) -> Tensor:
    """Compute a derivative.

    The encodings of the other modalities are the same at all steps; they run once if reuse is exact. Some points are
    also derived without reuse; if they differ, all points are derived without reuse.

    Args:
        evaluator: Runs the model, whose state is the same before and after.
        probe: The examples that the rows refer to, with segments of the modality.
        derivative: The rows, their outputs and the modality.

    Returns:
        ``(R, ...)`` in float32 on the CPU; the further dimensions are those of the modality's leaf.

    Raises:
        ConfigurationError: The modality is neither real numbers nor tokens of an ``nn.Embedding``.
        RuntimeError: No gradient reaches the modality, or weights were made in inference mode.
    """
    refuse_inference_tensors(evaluator.module)
    points = Points.of(derivative)
    evaluator.count_rows(len(points))
    return evaluator.averaged(lambda: _derived(evaluator, probe, derivative, points))


def _derived(evaluator: Evaluator, probe: Probe, derivative: Derivative, points: Points) -> Tensor:
    weights = integration_points(derivative.steps)[1]  # the trainer's precision may change the default number type
    with isolated(evaluator.module, seed=evaluator.seed), derivable(evaluator.module), evaluator.precision():
        input_point = input_point_of(evaluator, probe, derivative.rows, derivative.modality)
        derivation = _Derivation(evaluator, probe, input_point)
        plan = _plan_without(evaluator, probe, derivative.modality)
        try:
            found = derivation.integrated(points, weights, plan)
            derivation.check(points, plan)
        except Exception as error:
            if plan is None or ran_out(error):
                raise
            found = derivation.integrated(points, weights, None)
            evaluator.give_up(plan, error)
    return found


def input_point_of(evaluator: Evaluator, probe: Probe, rows: Query, modality: str) -> InputPoint:
    """Run a forward of one row, doubled, to find where a modality enters the model. Call it inside ``isolated``."""
    batch = probe.batch(rows.sources[:1].expand(2, -1), {}, evaluator.device)
    return InputPoint.find(evaluator.module, evaluator.predict, probe, modality, batch)


def _plan_without(evaluator: Evaluator, probe: Probe, modality: str) -> Plan | None:
    """Return a plan that replays only the other modalities' calls; None if there is nothing to replay."""
    plan = evaluator.plan_for(probe) if evaluator.reuse and evaluator.all_pairs is None else None
    if plan is None:
        return None
    own = probe.schema.names.index(modality)
    others = {key: m for key, m in plan.modality.items() if m != own}
    needed = plan.needed | set(probe.schema.values[modality])
    return replace(plan, modality=others, needed=frozenset(needed)) if others else None


@dataclass(frozen=True)
class _Derivation:
    """Computes derivatives at points of one modality."""

    evaluator: Evaluator
    probe: Probe
    input_point: InputPoint

    def integrated(self, points: Points, weights: Tensor, plan: Plan | None) -> Tensor:
        """Return ``(R, ...)`` derivatives of rows, summed over their steps; for large inputs, a few rows at a time.

        Args:
            points: ``R * steps`` points; those of a row are consecutive.
            weights: ``(steps,)`` weights of the points of a row.
            plan: Calls to replay.
        """
        steps = len(weights)

        def summed(some: Tensor) -> Tensor:
            found = self.at(points[some], plan)
            added: Tensor = torch.tensordot(found.view(-1, steps, *found.shape[1:]), weights, ([1], [0]))
            return added

        rows = max(1, int(DERIVATIVE_BYTES / (steps * max(1, self._entries_bytes))))
        return torch.cat([summed(some) for some in torch.split(torch.arange(len(points)), rows * steps)])

    @property
    def _entries_bytes(self) -> int:
        """Bytes of the entries of one row."""
        return largest_bytes(self.probe.leaves[self.input_point.path])

    @property
    def _points_at_once(self) -> int:
        """Largest number of points of one forward."""
        width = self.input_point.width(self.evaluator.module)
        return max(FEWEST_ROWS, int(POINTS_BYTES / max(1, width * self._entries_bytes)))

    def at(self, points: Points, plan: Plan | None) -> Tensor:
        """Return ``(P, ...)`` derivatives; the plan's calls are replayed."""

        def run_all(rows: Tensor) -> Tensor:
            own = points[rows]
            runs = row_runs(own.rows, self.probe.schema.names, self.evaluator.chunk_size)
            return torch.cat([part for run in runs for part in self._run(own[run.rows], run, plan)])

        return in_buckets(self.probe.shapes_of(points.rows.sources), run_all)

    def _run(self, points: Points, run: RowRun, plan: Plan | None) -> list[Tensor]:
        evaluator, most = self.evaluator, self._points_at_once
        if plan is None or not run.worthwhile:
            most = min(most, evaluator.cached_rows)
            return evaluator.in_chunks(len(points), lambda rows: self._forward(points[rows]), most)
        recording = evaluator.record(plan, self.probe, run.distinct)
        shapes = self.probe.shapes_of(points.rows.sources[:1])[0]

        def replayed(rows: slice) -> Tensor:
            forward = partial(self._forward, points[rows], plan.needed)
            return recording.replay(evaluator.module, run.index[rows], shapes, forward)

        return evaluator.in_chunks(len(points), replayed, most)

    def _forward(self, points: Points, needed: frozenset[str] | None = None) -> Tensor:
        """Return ``(P, ...)``. A single row is doubled: a model that squeezes would lose its batch dimension."""
        count, evaluator, name = len(points), self.evaluator, self.input_point.modality
        model, device = evaluator.module, evaluator.device
        twice = points[torch.arange(max(count, 2)).clamp(max=count - 1)]
        sources, masks = twice.rows.sources, {m: kept for m, kept in twice.rows.masks.items() if m != name}
        own = sources[:, self.probe.schema.names.index(name)]
        segments = max(self.probe.segments[name].count(example) for example in set(own.tolist()))
        nothing = {name: torch.zeros(len(sources), segments, dtype=torch.bool)}
        batch, masked = (self.probe.batch(sources, kept, device, needed) for kept in (masks, {**masks, **nothing}))
        with torch.enable_grad(), self.input_point.open(model, self.probe, batch, masked, twice.shares) as entered:
            outputs = evaluator.reader(evaluator.predict(model, entered), twice.rows)
            chosen = outputs.gather(1, twice.outputs.to(outputs.device).unsqueeze(1))
            derived = self.input_point.derive(chosen)
        tokens, path = RowTokens.of(self.probe, name, sources, batch), self.input_point.path
        if tokens is not None:
            return tokens.in_texts(derived, self.probe.leaves[path].shape[1])[:count]
        return self.probe.restore(path, derived[:count], own)

    def check(self, points: Points, plan: Plan | None) -> None:
        """If a plan was used, derive some points without it too.

        Raises:
            RuntimeError: They differ from the others.
        """
        if plan is None:
            return
        some = points[self.evaluator.rows_to_check(len(points)).repeat_interleave(WORTHWHILE)]
        plain, found = self.at(some, None), self.at(some, plan)
        difference, largest = float((plain - found).abs().max()), float(plain.abs().max())
        if difference > TOLERANCE * largest:
            raise RuntimeError(
                f"derivatives differ from plain ones by {difference:.2g}, where they reach {largest:.2g}"
            )


def refuse_inference_tensors(module: nn.Module) -> None:
    """Refuse a model whose weights were made in inference mode: PyTorch cannot derive through them.

    Raises:
        RuntimeError: Some weights or buffers were.
    """
    named = chain(module.named_parameters(), module.named_buffers())
    made = ", ".join([name for name, tensor in named if tensor.is_inference()][:3])
    if made:
        raise RuntimeError(
            f"{made} was made in inference mode, so PyTorch cannot derive through it. Pass "
            "Trainer(inference_mode=False), or call the model once before trainer.validate()."
        )


def derivable(module: nn.Module) -> AbstractContextManager[None]:
    """Return the context in which a model is derived: cuDNN derives recurrent layers in training mode only."""
    recurrent = any(isinstance(child, nn.RNNBase) for child in module.modules())
    return without_cudnn() if recurrent else nullcontext()
