"""Evaluate queries with the user's model, in chunks that fit into memory; reuse encodings where that is exact."""

from collections.abc import Callable, Container, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.agreement import DisagreementError
from mviz_lightning.engine.chunks import InChunks, at_least_two
from mviz_lightning.engine.devices import device_of, is_sharded
from mviz_lightning.engine.draws import ContextFactory, InDraws
from mviz_lightning.engine.encoded_items import WithItemsEncoded
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import scores
from mviz_lightning.engine.output_reader import ROW_READER, OutputReader
from mviz_lightning.engine.packed_evaluation import Packing
from mviz_lightning.engine.query import Query, join
from mviz_lightning.engine.recording import Recording
from mviz_lightning.engine.replay_check import CHECKED_ROWS, check_replay
from mviz_lightning.engine.replay_failures import RETRIES, dropped_with, failed_modules, warn_of_failure
from mviz_lightning.engine.reuse_plan import Plan, find_plan
from mviz_lightning.engine.row_runs import RowRun, row_runs
from mviz_lightning.engine.sharded_forwards import ShardedForwards
from mviz_lightning.functional.outputs import Head

T = TypeVar("T")

CPU_CACHE = 8 * 2**20
"""Largest tensor of a forward, in bytes, that stays in a CPU's caches; with larger ones, the CPU waits for memory."""

FEWEST_ROWS = 16
"""Smallest number of rows of a forward on a CPU, whatever their size: each forward also has a fixed cost."""

LARGEST_SCALE = 4
"""Largest number of rows of a forward with replayed encodings, as a multiple of the chunk size."""


@dataclass
class Evaluator(InChunks, InDraws, WithItemsEncoded):
    """Evaluate the model on the rows of queries.

    Rows are evaluated in chunks. Submodules that depend on one modality alone run once for every distinct input of this
    modality, and their outputs are replayed by row.

    Attributes:
        module: The user's model. Its state is the same before and after every evaluation.
        predict: Calls the model.
        chunk_size: Largest number of rows of a plain forward. It is halved for good when memory runs out.
        precision: Makes the context under which the trainer calls the model, autocast for example.
        seed: Seed of the random numbers that a forward may draw. From the first evaluation that draws any, all rows of
            a forward get the same noise.
        reuse: Whether encodings may be reused; it becomes False for good if replayed rows differ from plain ones.
        all_pairs: For a model that scores every row's first modality against every row's second: the call that returns
            these ``(B, B)`` scores; ``predict`` returns their diagonal. None for any other model.
        head: The operation that turns the logits that ``predict`` returns into the model's probabilities; None if the
            model returns logits or values.
        reader: Turns what ``predict`` returned for some rows into one vector a row.
        draws: Number of seeds over which the outputs are averaged.
        rows: Number of distinct rows evaluated so far; each draw counts.
        remembered: Number of rows that cost nothing so far, since they were evaluated when another head requested them.
        packing: Whether rows of a language model are packed, and what that saved.
        item_methods: Names of the methods of a language model that were called once for each item so far; None where
            that failed.
    """

    module: nn.Module
    predict: Predict
    chunk_size: int = 128
    precision: ContextFactory = nullcontext
    seed: int = 0
    reuse: bool = True
    all_pairs: Predict | None = None
    head: Head | None = None
    reader: OutputReader = ROW_READER
    draws: int = 1
    rows: int = 0
    remembered: int = 0
    packing: Packing = field(default_factory=Packing)
    item_methods: Sequence[str] | None = ()
    _sharded_forwards: ShardedForwards = field(default_factory=ShardedForwards)
    _plan: Plan | None = None
    _planned_for: bool | None = None
    _dropped: frozenset[str] = frozenset()

    def __call__(self, probe: Probe, queries: Sequence[Query], at_least: int = 0) -> list[Tensor]:
        """Evaluate several queries at once; rows that occur in more than one are evaluated once.

        Args:
            probe: The examples that the queries refer to.
            queries: The rows to evaluate.
            at_least: Smallest number of rows; the last row is repeated, so that all processes run equally many
                forwards.

        Returns:
            For each query ``(R, C)`` outputs of its R rows, on the model's device, in the model's own data type.

        Raises:
            ConfigurationError: The model does not return one row of scores per row.
            RuntimeError: Memory ran out with the smallest chunk.
        """
        distinct, responses = join(queries)
        padded = torch.arange(max(at_least, len(distinct))).clamp(max=len(distinct) - 1)
        outputs = self._counted(probe, distinct[padded], len(distinct))
        return [outputs[response.to(outputs.device)] for response in responses]

    def _counted(self, probe: Probe, query: Query, count: int) -> Tensor:
        """Return the outputs of distinct rows; the first ``count`` of them are no repetitions."""
        return self.averaged(lambda: self._draw(probe, query, count))

    def _draw(self, probe: Probe, query: Query, count: int) -> Tensor:
        """Return the outputs of :meth:`_counted` for a single draw."""
        self.rows += count
        return self._evaluate(probe, query)

    def count_rows(self, count: int) -> None:
        """Add rows to the number of those evaluated so far; each draw counts."""
        self.rows += count * self.draws

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return device_of(self.module)

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of the weights: all must then run equally many forwards."""
        return is_sharded(self.module)

    def run_forward(self, forward: Callable[[], T]) -> T:
        """Return what a forward returns; where weights are sharded, it fails on all processes or on none."""
        return self._sharded_forwards.run(self.module, forward) if self.sharded else forward()

    def plain(self, probe: Probe, query: Query) -> Tensor:
        """Return ``(R, C)`` outputs of all rows, evaluated without reuse; repeated rows are evaluated again."""
        return self.averaged(lambda: self.plain_draw(probe, query))

    def plain_draw(self, probe: Probe, query: Query) -> Tensor:
        """Return the outputs of :meth:`plain` for a single draw."""
        return self.evaluated(probe, lambda: self._plain(probe, query))

    def _plain(self, probe: Probe, query: Query) -> Tensor:
        shapes = probe.shapes_of(query.sources)
        return self.by_shape(shapes, lambda rows: self._forward(probe, query[rows]), self.cached_rows)

    @property
    def cached_rows(self) -> int:
        """Number of plain rows that a CPU evaluates fastest in one forward; elsewhere the chunk size."""
        row = 0.0 if self._plan is None or self.device.type != "cpu" else self._plan.row_bytes
        return max(FEWEST_ROWS, int(CPU_CACHE / row)) if row else self.chunk_size

    def _evaluate(self, probe: Probe, query: Query) -> Tensor:
        """Return outputs of distinct rows, evaluated with reuse where that is exact, else plainly."""
        for evaluate in (self.packed, self.with_items_encoded):
            if (found := evaluate(probe, query)) is not None:
                return found
        outputs, failure = self._attempt(probe, query)
        for _ in range(RETRIES):
            if failure is None or self._plan is None:
                break
            self._drop(failed_modules(self, self._plan, probe, query, failure), failure)
            outputs, failure = self._attempt(probe, query)
        if failure is not None:
            outputs = self.plain_draw(probe, query)  # if the model itself fails, it raises its own error here
            self.give_up(self._plan, failure)
        return outputs

    def _attempt(self, probe: Probe, query: Query) -> tuple[Tensor, Exception | None]:
        """Return the outputs of rows, or why a replay failed."""

        def attempt() -> tuple[Tensor, Exception | None]:
            plan = None if self.all_pairs else self.plan_for(probe)
            # In own shapes, a forward holds examples of one shape only, so it cannot score all pairs.
            nothing = not self.reuse or self.sharded or (plan is None and (self.all_pairs is None or probe.own_shapes))
            if nothing or not any(run.worthwhile for run in row_runs(query, probe.schema.names, self.chunk_size)):
                return self._plain(probe, query), None
            try:
                outputs = self._reusing(plan, probe, query)
                self.check(probe, query, outputs)
            except Exception as error:
                if ran_out(error) or isinstance(error, DisagreementError):
                    raise
                return torch.empty(0), error
            return outputs, None

        return self.evaluated(probe, attempt)

    def plan_for(self, probe: Probe) -> Plan | None:
        """Return the replay plan, searched once, and again in own shapes; None if there is none or no trace works."""
        if self._planned_for is not probe.own_shapes and self.reuse:
            self._plan, self._planned_for = None, probe.own_shapes
            with suppress(Exception):  # also where memory runs out: the trace keeps all tensors of a few rows
                # Processes that share a sharded model have different distinct inputs, so they would run different
                # numbers of forwards.
                given = self.module, self.predict, probe, self.device, self._dropped
                self._plan = None if self.sharded else find_plan(*given)
        return self._plan

    def _reusing(self, plan: Plan | None, probe: Probe, query: Query) -> Tensor:
        outputs: list[Tensor] = []
        while len(query):
            run = next(row_runs(query, probe.schema.names, self.chunk_size))
            # Scores of all pairs and recordings take memory of their own.
            found = self._or_fewer(partial(self._outputs_of, run, plan, probe, query[run.rows]), len(run.distinct))
            outputs += found
            query = query[run.rows.stop :] if found else query
        return torch.cat(outputs)

    def _outputs_of(self, run: RowRun, plan: Plan | None, probe: Probe, query: Query) -> Tensor:
        if not run.worthwhile:
            return self._plain(probe, query)
        if plan is None:
            return self._rows_of_all_pairs(probe, run)
        return self.replay(plan, self.record(plan, probe, run.distinct), probe, query, run.index)

    def _rows_of_all_pairs(self, probe: Probe, run: RowRun) -> Tensor:
        """Score all pairs of the distinct inputs at once and take the rows from these scores."""
        distinct = run.distinct
        call = self.all_pairs or self.predict
        return run.pairs_of(scores(call(self.module, probe.batch(distinct.sources, distinct.masks, self.device))))

    def record(self, plan: Plan, probe: Probe, distinct: Query) -> Recording:
        """Run a plan's calls on every distinct input and return their recorded outputs."""
        recording, shapes = Recording(plan), probe.shapes_of(distinct.sources)

        def record(rows: Tensor) -> Tensor:
            recording.record(self.module, rows, shapes[rows[0]], lambda: self._forward(probe, distinct[rows]))
            return rows

        self.by_shape(shapes, record, self.cached_rows)
        recording.close(len(distinct))
        return recording

    def replay(self, plan: Plan, recording: Recording, probe: Probe, query: Query, index: Tensor) -> Tensor:
        """Return ``(R, C)`` outputs of rows in which a plan's calls are replayed; see :meth:`Recording.replay`."""
        # If all encodings of a modality have one shape, the shape of the modality itself does not matter.
        ragged = recording.ragged | {probe.schema.owners[path] for path in plan.needed & probe.padded.keys()}
        shapes = probe.shapes_of(query.sources)
        shapes[:, [m for m in range(shapes.shape[1]) if m not in ragged]] = 0

        def forward(rows: Tensor) -> Tensor:
            run = partial(self._forward, probe, query[rows], plan.needed)
            return recording.replay(self.module, at_least_two(index[rows]), shapes[rows[0]], run)

        return self.by_shape(shapes, forward, scale=self._scale(probe, recording))

    def _scale(self, probe: Probe, recording: Recording) -> int:
        """Return how many chunks of rows with replayed encodings fit into the memory of one plain chunk."""
        inputs = sum(leaf[:1].nbytes for leaf in probe.leaves.values() if isinstance(leaf, Tensor))
        return max(1, min(LARGEST_SCALE, int(inputs / max(1.0, recording.row_bytes))))

    def check(self, probe: Probe, query: Query, outputs: Tensor) -> None:
        """Recompute some rows plainly; raise an error if they differ from the replayed ones."""
        rows = self.rows_to_check(len(query))
        replayed = outputs[rows.to(outputs.device)]
        check_replay(lambda some: self._plain(probe, query[some]), rows, replayed, self.head, self.computed_in)

    def rows_to_check(self, count: int) -> Tensor:
        """Return a random sample of ``count`` rows to recompute plainly, another one in every run."""
        generator = torch.Generator().manual_seed(self.seed + self.rows)
        return torch.randperm(count, generator=generator)[:CHECKED_ROWS]

    def _drop(self, modules: Sequence[str], error: Exception) -> None:
        """Stop replaying these modules and warn with the reason; then search again for what can be replayed."""
        self.forget_plan()
        self._dropped |= dropped_with(self.module, modules, error, self._dropped)
        warn_of_failure(f"encodings of {', '.join(modules)}", "they are computed for every row", error)

    def forget_plan(self) -> None:
        """Search again for what can be replayed."""
        self._plan, self._planned_for = None, None

    def average_unshared(self, draws: int) -> None:
        """From now on, average over draws of unshared noise, without reuse: encodings would hold other noise."""
        self.draws, self.reuse = draws, False

    def give_up(self, plan: Plan | None, error: Exception) -> None:
        """Evaluate every row plainly from now on, and warn with the reason."""
        self.reuse = False
        what = "scores of all pairs" if plan is None else f"encodings of {', '.join(plan.modules)}"
        warn_of_failure(what, "every row is evaluated plainly", error)

    def _forward(self, probe: Probe, query: Query, needed: Container[str] | None = None) -> Tensor:
        """Return ``(R, C)``; a single row is evaluated twice."""
        given = query.doubled()
        batch = probe.batch(given.sources, given.masks, self.device, needed)
        return self.reader(self.predict(self.module, batch), given)[: len(query)].detach()
