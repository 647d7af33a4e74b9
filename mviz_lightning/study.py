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
from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch.probe import collate, draw_groups, fingerprint, labels
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
from mviz_lightning.functional import design, noise_floor, shares, smallest_group
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

    Attributes:
        config: What is studied.
        ranks: The processes that share the work.
        probe: The fixed examples; None until the first pass is complete.
        notes: What the next row of the history has to mention.
    """

    config: StudyConfig
    ranks: Ranks = field(default_factory=Ranks)
    probe: Probe | None = None
    notes: list[str] = field(default_factory=list)
    _layout: Layout | None = None
    _evaluator: Evaluator | None = None
    _outputs: int = 0
    _shares: Shares | None = None
    _reservoir: Reservoir | None = None
    _failure: Exception | None = None
    _saved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share_keys(self) -> list[str]:
        """Names of the shares that a run gives."""
        names, config = list(self.config.modalities), self.config
        plan = design(len(names), config.group_size, pairs=config.pairs, seed=config.seed)
        return list(shares(torch.zeros(2, 2 + 2 * len(names) + len(plan.pairs)), names, plan.pairs))

    def pop_notes(self) -> str:
        """Return, once, what a reader of the history has to know."""
        notes, self.notes = self.notes, []
        return "; ".join(notes)

    @property
    def rehearsed(self) -> bool:
        """Whether the model has been tried."""
        return self._evaluator is not None

    def rehearse(self, module: nn.Module, batch: Any, precision: ContextFactory = nullcontext) -> str:
        """Try paths, prediction and row independence on a few examples; nothing is kept of them.

        Args:
            module: The user's model.
            batch: A first validation batch.
            precision: Makes the context under which the trainer calls the model.

        Returns:
            How the model is called, in words.

        Raises:
            ConfigurationError: The model or the batch cannot be studied as configured; on all ranks alike.
        """
        with self.ranks.heard_by_all():
            layout = Layout.learn(batch, self.config.modalities, self.config.target)
            sample = _some_examples(layout, batch)
            rows = Query.aligned(torch.arange(sample.size), len(layout.names)).sources
            with isolated(module, seed=self.config.seed), precision():
                call = choose(module, layout, sample.batch(rows, {}, device_of(module)), self.config.predict)
            evaluator = Evaluator(module, call.predict, self.config.chunk_size, precision, self.config.seed)
            outputs = check_independence(evaluator, sample)
            warn_of_stray_leaves(evaluator, sample, outputs)
            resolve_task(self.config.task, outputs.shape[1], _target(sample))
        self._layout, self._evaluator, self._outputs = layout, evaluator, outputs.shape[1]
        self._restore(layout)
        return call.description

    def collect(self, batch: Any, locate: Callable[[int], Sequence[int | None]]) -> int:
        """Consider a batch's examples for the probe; a failure is kept until all ranks can hear of it.

        Args:
            batch: A validation batch, before a step may have changed it.
            locate: From how many examples there are to their positions in the data set; None for one that is there
                twice.

        Returns:
            How many examples were considered: none once the probe is complete.
        """
        if self.probe is not None or self._failure is not None or self._layout is None:
            return 0
        try:
            self._layout = self._layout.settled(batch)
            leaves = self._layout.leaves(batch)
            count = self._layout.size(leaves)
            if self._reservoir is None:
                self._reservoir = Reservoir(self._capacity(self._layout, leaves), self.config.seed)
            self._reservoir.add(self._layout, leaves, locate(count))
        except Exception as error:  # raised later, on all ranks
            self._failure = error
            return 0
        return count

    def _capacity(self, layout: Layout, leaves: Mapping[str, Any]) -> int:
        tensors = [leaf for leaf in leaves.values() if isinstance(leaf, Tensor)]
        example = sum(leaf.nbytes for leaf in tensors) / max(1, layout.size(leaves))
        fitting = int(REFERENCE_BYTES / max(1.0, example))
        return max(self.config.num_examples, min(self.config.reference, fitting))

    def complete(self) -> None:
        """Draw the probe from what the pass showed, once; all ranks get the same.

        Raises:
            ConfigurationError: There are too few examples.
        """
        if self.probe is not None:
            return
        failure, self._failure = self._failure, None
        with self.ranks.heard_by_all():
            if failure is not None:
                raise failure
        reservoir = self._reservoir or Reservoir(self.config.reference, self.config.seed)
        self._reservoir = None
        positions = [position for found in self.ranks.gather(reservoir.positions()) for position in found]
        capacity = max(self.ranks.gather(reservoir.capacity))
        chosen = lowest(self.config.seed, positions, capacity)
        rows = {position: row for found in self.ranks.gather(reservoir.rows(chosen)) for position, row in found.items()}
        with self.ranks.heard_by_all():
            self.probe = self._draw(self._layout, [rows[position] for position in chosen])
        if self._saved.get("fingerprint", fingerprint(self.probe.leaves)) != fingerprint(self.probe.leaves):
            self.notes.append("probe drawn anew: the validation set or its order changed since the checkpoint")

    def _draw(self, layout: Layout | None, rows: Sequence[Row]) -> Probe:
        size = self._group_size(len(rows))
        if layout is None:
            raise RuntimeError("no batch was rehearsed.")
        leaves = collate(layout, rows)
        target = None if layout.target is None else labels(leaves[layout.target])
        examples = self.config.affordable_groups(size) * size
        return Probe(layout, leaves, draw_groups(target, len(rows), examples, size, self.config.seed))

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
            raise RuntimeError("there is no probe yet; rehearse, collect and complete first.")
        started, before = time.perf_counter(), evaluator.rows
        groups, padded = self.ranks.share(probe.groups), self.ranks.padded_share(probe.groups)
        with self.ranks.heard_by_all():
            explainer = self._shares_of(probe)
            outputs = self._finite_outputs(evaluator, probe, explainer, padded)
            metrics = explainer.metrics(probe, outputs, groups, sync=self.ranks.count > 1)
        values = explainer.explain(metrics)
        rows = (evaluator.rows - before) * self.ranks.count
        return Measurement(
            values, rows, time.perf_counter() - started, noise_floor(outputs, len(self.config.modalities))
        )

    def _shares_of(self, probe: Probe) -> Shares:
        """Settle the task once, on all labels of the probe."""
        if self._shares is None:
            config, size = self.config, probe.groups.shape[1]
            task = resolve_task(config.task, self._outputs, _target(probe))
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
        state: dict[str, Any] = {"fingerprint": fingerprint(self.probe.leaves)}
        plain = all(_is_plain(leaf) for leaf in self.probe.leaves.values())
        size = sum(leaf.nbytes for leaf in self.probe.leaves.values() if isinstance(leaf, Tensor))
        if plain and size <= limit:
            state |= {"leaves": dict(self.probe.leaves), "groups": self.probe.groups}
        return state

    def load(self, state: Mapping[str, Any]) -> None:
        """Take a probe from a checkpoint; it is used as soon as a first batch shows where its leaves belong."""
        self._saved = state

    def _restore(self, layout: Layout) -> None:
        leaves = self._saved.get("leaves", {})
        if leaves and set(leaves) == set(layout.owners):
            self.probe = Probe(layout, leaves, self._saved["groups"])


def _some_examples(layout: Layout, batch: Any) -> Probe:
    leaves = layout.leaves(batch)
    rows = torch.arange(min(ROWS, layout.size(leaves)))
    with torch.inference_mode(False), torch.no_grad():
        some = {path: leaf_kinds.move(leaf_kinds.take(leaf, rows), "cpu") for path, leaf in leaves.items()}
    return Probe(layout, some, torch.empty(0, 0, dtype=torch.long))


def _target(probe: Probe) -> Tensor | None:
    target = probe.target
    if target is None and probe.layout.target is not None:
        leaf = leaf_kinds.describe(probe.leaves[probe.layout.target])
        raise ConfigurationError(
            f"target={probe.layout.target!r} is a {leaf} that holds no numbers; give the path of class indices, 0/1 "
            "labels or values."
        )
    return target


def _is_plain(leaf: Any) -> bool:
    # Exactly these: NumPy's scalars are floats and strings too, and loading a checkpoint refuses them.
    return isinstance(leaf, Tensor) or (isinstance(leaf, list) and all(type(x) in (str, int, float) for x in leaf))
