"""Derivatives of a model's outputs by what one modality feeds in, the other modalities' encodings reused."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from lightning.pytorch.utilities.memory import is_oom_error
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.entrance import Entrance
from mviz_lightning.evaluation.evaluator import CHECKED, WORTHWHILE, Evaluator
from mviz_lightning.evaluation.isolation import isolated
from mviz_lightning.evaluation.prediction import scores
from mviz_lightning.evaluation.query import Derivative, Query
from mviz_lightning.evaluation.reuse import Plan
from mviz_lightning.evaluation.slices import Slice, slices

TOLERANCE = 1e-3
"""By how much derivatives may differ, relative to the largest, where encodings are reused."""


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
        """Spell out the steps of every row: their midpoints, or the end itself for a single one."""
        count, steps = len(asked.rows), asked.steps
        shares = torch.ones(1) if steps == 1 else (torch.arange(steps) + 0.5) / steps
        place = torch.arange(count).repeat_interleave(steps)
        return cls(asked.rows[place], asked.outputs[place], shares.repeat(count))

    def __getitem__(self, index: Any) -> "Points":
        return Points(self.rows[index], self.outputs[index], self.shares[index])

    def __len__(self) -> int:
        return len(self.rows)


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
    with isolated(evaluator.module, seed=evaluator.seed), _without_cudnn(evaluator.module), evaluator.precision():
        derivation = _Derivation(evaluator, probe, _entrance(evaluator, probe, asked))
        plan = _of_the_others(evaluator, probe, asked.modality)
        try:
            found = derivation.at(points, plan)
            derivation.check(points, plan)
        except Exception as error:
            if plan is None or is_oom_error(error) or isinstance(error, ConfigurationError):
                raise
            found = derivation.at(points, None)
            evaluator.give_up(plan, error)
    return found.view(len(asked.rows), asked.steps, *found.shape[1:]).mean(1)


def _entrance(evaluator: Evaluator, probe: Probe, asked: Derivative) -> Entrance:
    few = asked.rows[torch.arange(2).clamp(max=len(asked.rows) - 1)]
    batch = probe.batch(few.sources, {}, evaluator.device)
    return Entrance.find(evaluator.module, evaluator.predict, probe, asked.modality, batch)


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
    entrance: Entrance

    def at(self, points: Points, plan: Plan | None) -> Tensor:
        """Return ``(P, ...)``, with what the plan holds of the other modalities replayed."""
        runs = slices(points.rows, self.probe.layout.names, self.evaluator.chunk_size)
        return torch.cat([part for run in runs for part in self._run(points[run.rows], run, plan)])

    def _run(self, points: Points, run: Slice, plan: Plan | None) -> list[Tensor]:
        ask = self.evaluator
        if plan is None or len(points) < WORTHWHILE * len(run.distinct):
            return ask.in_chunks(len(points), lambda rows: self._forward(points[rows]))
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
        units = max(self.probe.units[name].count(example) for example in set(own.tolist()))
        nothing = {name: torch.zeros(len(sources), units, dtype=torch.bool)}
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
def _without_cudnn(module: nn.Module) -> Iterator[None]:
    """Run recurrent layers without cuDNN, which derives them in training mode alone."""
    recurrent = any(isinstance(child, nn.RNNBase) for child in module.modules())
    with torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        yield
