"""The monitor's work without a Trainer: rehearse, collect, complete, run."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Layout, Probe, Reservoir
from mviz_lightning.batch.probe import (
    collate,
    draw_groups,
    fingerprint,
    known_target,
    labels,
    plain_bytes,
    sample,
)
from mviz_lightning.batch.reservoir import Row, lowest
from mviz_lightning.config import StudyConfig
from mviz_lightning.errors import ConfigurationError, MonitorWarning
from mviz_lightning.evaluation.checks import ROWS, check_independence, warn_of_stray_leaves
from mviz_lightning.evaluation.evaluator import ContextFactory, Evaluator, device_of
from mviz_lightning.evaluation.isolation import isolated
from mviz_lightning.evaluation.prediction import choose
from mviz_lightning.evaluation.query import Query
from mviz_lightning.explainers.shares import Shares
from mviz_lightning.explainers.task import resolve_task
from mviz_lightning.functional import NOTEWORTHY, noise_floor, smallest_group
from mviz_lightning.ranks import Ranks

REFERENCE_BYTES = 256 * 2**20
"""Memory for the reference set at the most; beyond it fewer examples than asked are kept, the probe's at least."""


@dataclass(frozen=True)
class Measurement:
    """What one run found.

    Attributes:
        values: By the names under which they are logged, without prefix.
        rows: Rows evaluated, over all processes.
        seconds: Wall time.
        noise_floor: Share of variance that rounding of the model's own number type can feign.
    """

    values: dict[str, float]
    rows: int
    seconds: float
    noise_floor: float


@dataclass
class Study:
    """Fixed examples of one validation set and what is measured on them, again and again.

    A pass over the data begins, its batches are collected, the first is rehearsed; then the study is completed and run,
    as often as wanted. What fails in a pass is kept until :meth:`check` or :meth:`complete`, where all processes meet.

    Attributes:
        config: What is studied.
        ranks: The processes that share the work.
        probe: The fixed examples; None until the first pass is complete.
        notes: What the next row of the history has to mention.
        call: How the model is called, in words.
    """

    config: StudyConfig
    ranks: Ranks = field(default_factory=Ranks)
    probe: Probe | None = None
    notes: list[str] = field(default_factory=list)
    _layout: Layout | None = None
    _sample: Probe | None = None
    _evaluator: Evaluator | None = None
    _outputs: int = 0
    _shares: Shares | None = None
    _reservoir: Reservoir | None = None
    _failure: Exception | None = None
    _saved: Mapping[str, Any] = field(default_factory=dict)
    _digest: str | None = None
    call: str = ""

    def pop_notes(self) -> str:
        """Return, once, what a reader of the history has to know."""
        notes, self.notes = "; ".join(self.notes), []
        return notes

    @property
    def rehearsed(self) -> bool:
        """Whether the model has been tried."""
        return self._evaluator is not None

    def studies(self, module: nn.Module) -> bool:
        """Tell whether it is this model that is studied."""
        return self._evaluator is None or self._evaluator.module is module

    def begin(self) -> None:
        """Begin a pass over the data; what an earlier one that broke off left behind is forgotten."""
        self._reservoir = self._failure = None

    def collect(self, batch: Any, locate: Callable[[int], Sequence[int | None]]) -> int:
        """Consider a batch's examples for the probe.

        Args:
            batch: A validation batch, before a step may have changed it.
            locate: From their number to their positions in the data set; None for one that is there twice.

        Returns:
            How many were considered: none once the probe is complete.
        """
        if self._failure is not None or (self.probe is not None and self.rehearsed):
            return 0
        try:
            return self._collect(batch, locate)
        except Exception as error:
            self._failure = error
            return 0

    def _collect(self, batch: Any, locate: Callable[[int], Sequence[int | None]]) -> int:
        if self._layout is None:
            self._layout = Layout.learn(batch, self.config.modalities, self.config.target)
            self._sample = sample(self._layout, batch, ROWS)
            self._restore(self._layout)
        self._layout = self._layout.settled(batch)
        leaves = self._layout.leaves(batch)
        count = self._layout.size(leaves)
        if self.probe is None:
            if self._reservoir is None:
                self._reservoir = Reservoir(self._capacity(self._layout, leaves), self.config.seed)
            self._reservoir.add(self._layout, leaves, locate(count))
        return count

    def rehearse(self, module: nn.Module, precision: ContextFactory = nullcontext) -> None:
        """Try prediction and row independence on a few examples of the first batch, once.

        Args:
            module: The user's model.
            precision: Makes the context under which the trainer calls the model.
        """
        if self.rehearsed or self._failure is not None or self._layout is None or self._sample is None:
            return
        try:
            self._try(module, self._layout, self._sample, precision)
        except Exception as error:
            self._failure = error
        self._sample = None

    def _try(self, module: nn.Module, layout: Layout, few: Probe, precision: ContextFactory) -> None:
        rows = Query.aligned(torch.arange(few.size), len(layout.names)).sources
        with isolated(module, seed=self.config.seed), precision():
            call = choose(module, layout, few.batch(rows, {}, device_of(module)), self.config.predict)
        evaluator = Evaluator(module, call.predict, self.config.chunk_size, precision, self.config.seed)
        outputs = check_independence(evaluator, few)
        warn_of_stray_leaves(evaluator, few, outputs)
        resolve_task(self.config.task, outputs.shape[1], known_target(few))
        self._evaluator, self._outputs, self.call = evaluator, outputs.shape[1], call.description

    def check(self, missing: str = "no validation batch came by.", enough: Callable[[list[bool]], bool] = all) -> None:
        """Raise, on all ranks, what failed on any so far.

        Args:
            missing: What to say where no batch was rehearsed.
            enough: Whether all ranks must have rehearsed one, or any.

        Raises:
            ConfigurationError: The model or the batches cannot be studied.
        """
        failure, self._failure = self._failure, None
        with self.ranks.heard_by_all():
            if failure is not None:
                raise failure
        if not enough(self.ranks.gather(self.rehearsed)):
            raise ConfigurationError(missing)

    def _capacity(self, layout: Layout, leaves: Mapping[str, Any]) -> int:
        tensors = [leaf for leaf in leaves.values() if isinstance(leaf, Tensor)]
        example = sum(leaf.nbytes for leaf in tensors) / max(1, layout.size(leaves))
        fitting = int(REFERENCE_BYTES / max(1.0, example))
        return max(self.config.num_examples, min(self.config.reference, fitting))

    def complete(self) -> None:
        """Draw the probe from what the pass showed, once; all ranks get the same.

        Raises:
            ConfigurationError: There are too few examples, or something failed during the pass.
        """
        self.check()
        if all(self.ranks.gather(self.probe is not None)):
            return
        capacity = max(self.ranks.gather(0 if self._reservoir is None else self._reservoir.capacity))
        reservoir = self._reservoir or Reservoir(capacity, self.config.seed)
        positions = [position for found in self.ranks.gather(reservoir.positions()) for position in found]
        chosen = lowest(self.config.seed, positions, capacity)
        rows = {position: row for found in self.ranks.gather(reservoir.rows(chosen)) for position, row in found.items()}
        with self.ranks.heard_by_all():
            self.probe = self._draw(self._layout, [rows[position] for position in chosen])
        self._reservoir = None
        if self._saved and self._saved.get("fingerprint") != self._fingerprint(self.probe):
            self.notes.append("probe drawn anew: the validation set or its order changed since the checkpoint")

    def _draw(self, layout: Layout | None, rows: Sequence[Row]) -> Probe:
        if layout is None:
            raise RuntimeError("no batch was collected.")
        self._group_size(len(rows))  # before there is nothing to join
        return self._grouped(layout, collate(layout, rows))

    def _grouped(self, layout: Layout, leaves: Mapping[str, Any]) -> Probe:
        count = layout.size(leaves)
        size = self._group_size(count)
        target = None if layout.target is None else labels(leaves[layout.target])
        examples = self.config.affordable_groups(size) * size
        return Probe(layout, leaves, draw_groups(target, count, examples, size, self.config.seed))

    def _group_size(self, examples: int) -> int:
        least = smallest_group(len(self.config.modalities))
        if examples < 2 * least:
            raise ConfigurationError(
                f"{examples} validation examples were seen; contribution shares of {len(self.config.modalities)} "
                f"modalities need {2 * least} or more. Raise limit_val_batches or enlarge the validation set."
            )
        if examples >= 2 * self.config.group_size:
            return self.config.group_size
        size = max(least, examples // 2)
        warnings.warn(
            f"{examples} validation examples are fewer than two groups of group_size={self.config.group_size}; groups "
            f"of {size} are used and intervals will be wide. Enlarge the validation set or set group_size={size}.",
            MonitorWarning,
            stacklevel=2,
        )
        return size

    def run(self) -> Measurement:
        """Measure the model as it is now.

        Raises:
            ConfigurationError: The task cannot be told, or labels do not fit it.
            RuntimeError: Outputs are not finite, or the model failed; on all ranks alike.
        """
        probe, evaluator = self.probe, self._evaluator
        if probe is None or evaluator is None:
            raise RuntimeError("there is no probe yet; collect, rehearse and complete first.")
        started, before = time.perf_counter(), evaluator.rows
        groups, padded = self.ranks.share(probe.groups), self.ranks.padded_share(probe.groups)
        with self.ranks.heard_by_all():
            explainer = self._shares_of(probe)
            outputs = self._finite_outputs(evaluator, probe, explainer, padded)
            metrics = explainer.metrics(probe, outputs, groups, sync=self.ranks.count > 1)
        values = explainer.explain(metrics)
        rows, floor = (evaluator.rows - before) * self.ranks.count, noise_floor(outputs, len(self.config.modalities))
        self.notes += [f"shares below {floor:.1g} may be rounding"] if floor > NOTEWORTHY else []
        return Measurement(values, rows, time.perf_counter() - started, floor)

    def _shares_of(self, probe: Probe) -> Shares:
        """Settle the task once, on all labels of the probe."""
        if self._shares is None:
            config, size = self.config, probe.groups.shape[1]
            task = resolve_task(config.task, self._outputs, known_target(probe))
            self._shares = Shares(probe.layout.names, task, size, config.pairs, config.score, config.seed)
        return self._shares

    def _finite_outputs(self, evaluator: Evaluator, probe: Probe, explainer: Shares, groups: Tensor) -> Tensor:
        outputs = evaluator(probe, [explainer.plan(groups)])[0]
        broken = int((~outputs.isfinite()).any(1).sum())
        if broken:
            raise RuntimeError(
                f"{broken} of {len(outputs)} rows of the model's outputs are NaN or infinite; look at the loss, the "
                "learning rate and the precision."
            )
        return outputs.cpu() if outputs.device.type == "mps" else outputs  # which lacks float64

    def state(self, limit: int) -> dict[str, Any]:
        """Return the probe for a checkpoint, in plain types: whole up to ``limit`` bytes, otherwise its digest."""
        if self.probe is None:
            return dict(self._saved)
        state: dict[str, Any] = {"fingerprint": self._fingerprint(self.probe)}
        if plain_bytes(self.probe.leaves) <= limit:
            state |= {"leaves": dict(self.probe.leaves), "groups": self.probe.groups}
        return state

    def _fingerprint(self, probe: Probe) -> str:
        """Digest the examples once: every checkpoint asks."""
        self._digest = self._digest or fingerprint(probe.leaves)
        return self._digest

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a probe from a checkpoint; it is used as soon as a first batch shows where its leaves belong."""
        self._saved = state

    def _restore(self, layout: Layout) -> None:
        leaves = self._saved.get("leaves", {})
        if not leaves or set(leaves) != set(layout.owners):
            return
        self.probe = self._grouped(layout, leaves)
        if not torch.equal(self.probe.groups, self._saved["groups"]):
            self.notes.append("groups drawn anew: the configuration changed since the checkpoint")
