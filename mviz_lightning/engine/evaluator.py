"""Ask the user's model; nothing else in the package calls it."""

import warnings
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeAlias, TypeVar

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda
from torch import Tensor, nn

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.calling import Predict, scores
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.query import Query, join
from mviz_lightning.engine.reuse import Plan, Recording, find_plan
from mviz_lightning.engine.slices import Slice, slices
from mviz_lightning.errors import ConfigurationError, MonitorWarning, message_of
from mviz_lightning.functional.outputs import Head, masked_classes, rounded

T = TypeVar("T")

CACHE, FEWEST = 8 * 2**20, 16
"""Bytes of a forward's largest tensor up to which a CPU's caches serve, and the rows that are forwarded in any case."""

CHECKED = 16
"""Rows that are recomputed plainly whenever encodings are reused."""

ROUNDED = 4
"""How often the rounding of a probability may add up where its row is recomputed."""

LARGEST_SCALE = 4
"""Rows of a forward with replayed encodings at the most, in chunks."""

ContextFactory: TypeAlias = Callable[[], AbstractContextManager[object]]


@dataclass
class Evaluator:
    """Answers queries in chunks; what depends on one modality alone is run once for every distinct input.

    Attributes:
        module: The user's model; it is left as it was found.
        predict: How it is called.
        chunk_size: Rows a forward at the most. Halved for good when memory runs out.
        precision: Makes the context under which the trainer calls the model (autocast, say).
        seed: Of random numbers that a forward may draw.
        all_pairs: A call that scores every row's first modality against every row's second, ``(B, B)``, where the model
            is such; ``predict`` is its diagonal.
        head: What made probabilities of the logits that ``predict`` returns; None where the model returns logits.
        reuse: Whether encodings may be reused; set to False for good when they turn out not to be exact.
        rows: Distinct rows evaluated so far.
    """

    module: nn.Module
    predict: Predict
    chunk_size: int = 128
    precision: ContextFactory = nullcontext
    seed: int = 0
    reuse: bool = True
    all_pairs: Predict | None = None
    head: Head | None = None
    rows: int = 0
    _plan: Plan | None = None
    _planned: bool = False

    def __call__(self, probe: Probe, queries: Sequence[Query], at_least: int = 0) -> list[Tensor]:
        """Answer several queries at once; rows they share are evaluated once.

        Args:
            probe: The examples that the queries name.
            queries: Rows to evaluate, ``R`` of them each.
            at_least: Evaluate so many rows, by repeating one, where all processes must run equally many forwards.

        Returns:
            For each query ``(R, C)`` outputs, on the model's device and in the type the model gave them.

        Raises:
            ConfigurationError: The outputs are not one row of scores for each row asked.
            RuntimeError: Memory ran out at the smallest chunk.
        """
        distinct, responses = join(queries)
        self.rows += len(distinct)
        padded = torch.arange(max(at_least, len(distinct))).clamp(max=len(distinct) - 1)
        outputs = self._answer(probe, distinct[padded])
        return [outputs[response.to(outputs.device)] for response in responses]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.module)

    @property
    def sharded(self) -> bool:
        """Whether processes hold parts of the weights: all of them must run equally many forwards."""
        return any(hasattr(parameter, "placements") for parameter in self.module.parameters())

    def fusion_share(self, probe: Probe) -> float:
        """Return the share of a plain row's work that is left where encodings are replayed; 1 without reuse."""
        if not self.reuse or self.all_pairs is not None:
            return 0.0 if self.reuse else 1.0
        with isolated(self.module, seed=self.seed), self.precision():
            plan = self.plan_for(probe)
        return 1.0 if plan is None else plan.left

    def plain(self, probe: Probe, query: Query) -> Tensor:
        """Return the ``(R, C)`` outputs of the rows as they stand, repeats included."""
        with isolated(self.module, seed=self.seed), self.precision():
            return self._plain(probe, query)

    def _plain(self, probe: Probe, query: Query) -> Tensor:
        return torch.cat(self.in_chunks(len(query), lambda rows: self._forward(probe, query[rows]), self.cached_rows))

    @property
    def cached_rows(self) -> int:
        """Return how many whole rows a CPU forwards fastest: beyond its caches it waits for memory."""
        row = 0.0 if self._plan is None or self.device.type != "cpu" else self._plan.row_bytes
        return max(FEWEST, int(CACHE / row)) if row else self.chunk_size

    def _answer(self, probe: Probe, query: Query) -> Tensor:
        """Reuse encodings where that is exact."""
        with isolated(self.module, seed=self.seed), self.precision():
            plan = None if self.all_pairs else self.plan_for(probe)
            if not self.reuse or (plan is None and self.all_pairs is None):
                return self._plain(probe, query)
            parts = list(slices(query, probe.layout.names, self.chunk_size))
            if not any(part.worthwhile for part in parts):
                return self._plain(probe, query)
            try:
                outputs = self._reusing(plan, probe, query)
                self._check(probe, query, outputs)
            except Exception as error:
                if ran_out(error):
                    raise
                failure = error
            else:
                return outputs
        outputs = self.plain(probe, query)  # where the model itself fails, it fails here too, with its own words
        self.give_up(plan, failure)
        return outputs

    def plan_for(self, probe: Probe) -> Plan | None:
        """Look once for what can be reused; nothing in a model whose forward is traced in vain."""
        if not self._planned and self.reuse:
            self._planned = True
            with suppress(Exception):  # memory that runs out, among others: it keeps all that a few rows make
                # Sharded models: the processes' distinct inputs differ, and so would the number of forwards.
                self._plan = None if self.sharded else find_plan(self.module, self.predict, probe, self.device)
        return self._plan

    def _reusing(self, plan: Plan | None, probe: Probe, query: Query) -> Tensor:
        outputs: list[Tensor] = []
        while len(query):
            part = next(slices(query, probe.layout.names, self.chunk_size))
            # Scores of all pairs, and recordings, take memory of their own.
            found = self._or_fewer(partial(self._outputs_of, part, plan, probe, query[part.rows]), len(part.distinct))
            outputs += found
            query = query[part.rows.stop :] if found else query
        return torch.cat(outputs)

    def _outputs_of(self, part: Slice, plan: Plan | None, probe: Probe, query: Query) -> Tensor:
        if not part.worthwhile:
            return self._plain(probe, query)
        if plan is None:
            return self._looked_up(probe, part)
        return self._replay(plan, self.record(plan, probe, part.distinct), probe, query, part.index)

    def _looked_up(self, probe: Probe, part: Slice) -> Tensor:
        """Score all pairs of the distinct inputs at once and look the rows up."""
        distinct = part.distinct
        call = self.all_pairs or self.predict
        grid = scores(call(self.module, probe.batch(distinct.sources, distinct.masks, self.device)))
        index = part.index.to(grid.device)
        return grid[index[:, 0], index[:, 1]].unsqueeze(1).detach()

    def record(self, plan: Plan, probe: Probe, distinct: Query) -> Recording:
        """Run a plan's calls on every distinct input and keep what they return."""
        recording = Recording(plan)
        self.in_chunks(
            len(distinct),
            lambda rows: recording.record(self.module, lambda: self._forward(probe, distinct[rows])),
            self.cached_rows,
        )
        recording.close(len(distinct))
        return recording

    def _replay(self, plan: Plan, recording: Recording, probe: Probe, query: Query, index: Tensor) -> Tensor:
        device = self.device

        def forward(rows: slice) -> Tensor:
            run = partial(self._forward, probe, query[rows], plan.needed)
            return recording.replay(self.module, index[rows].to(device), run)

        return torch.cat(self.in_chunks(len(query), forward, scale=self._scale(probe, recording)))

    def _scale(self, probe: Probe, recording: Recording) -> int:
        """Return how many times as many rows fit into the memory of a plain chunk where encodings are replayed."""
        inputs = sum(leaf[:1].nbytes for leaf in probe.leaves.values() if isinstance(leaf, Tensor))
        return max(1, min(LARGEST_SCALE, int(inputs / max(1.0, recording.row_bytes))))

    def _check(self, probe: Probe, query: Query, outputs: Tensor) -> None:
        """Recompute some rows plainly.

        Raises:
            RuntimeError: They differ.
        """
        generator = torch.Generator().manual_seed(self.seed + self.rows)  # others in every run
        rows = torch.randperm(len(query), generator=generator)[:CHECKED]
        plain, found = self._plain(probe, query[rows]).double(), outputs[rows.to(outputs.device)].double()
        finite = plain.isfinite()
        kept = plain.where(finite, 0.0)
        # By the spread: beside a large offset, or another output, all that matters would look small.
        spread = (plain - plain.mean(0)).abs().nan_to_num(0.0, 0.0, 0.0).amax(0)
        live = spread[~masked_classes(plain, "multilabel")]
        allowed = _tolerance(outputs) * (spread + live.max() / 100)
        allowed += 2 * torch.finfo(outputs.dtype).eps * kept.abs().amax(0)
        # Close to 1 the last digit of a probability is much of its logit.
        lost = 0.0 if self.head is None else ROUNDED * torch.finfo(outputs.dtype).eps * rounded(kept, self.head)
        difference = ((found.where(finite, 0.0) - kept).abs() - lost).amax(0)
        if not torch.equal(finite, found.isfinite()) or bool((difference > allowed).any()):
            worst = int((difference / allowed.clamp(min=1e-300)).argmax())
            raise RuntimeError(
                f"replayed rows differ from plain ones by {difference[worst]:.2g}, where outputs vary by "
                f"{spread[worst]:.2g}"
            )

    def give_up(self, plan: Plan | None, error: Exception) -> None:
        """Evaluate every row plainly from now on, and say why."""
        self.reuse = False
        what = "scores of all pairs" if plan is None else f"encodings of {', '.join(plan.modules)}"
        warnings.warn(
            f"{what} cannot be reused, so every row is evaluated plainly, which takes longer: {message_of(error)}. "
            "Say reuse=False to go without the attempt.",
            MonitorWarning,
            stacklevel=2,
        )

    def in_chunks(
        self, count: int, forward: Callable[[slice], T], most: int | None = None, *, scale: int = 1
    ) -> list[T]:
        """Run all rows, some at a time; fewer when memory runs out.

        Args:
            count: Of rows.
            forward: Runs some of them.
            most: Rows at a time at the most.
            scale: How many times the usual number of rows fits into memory.
        """
        found: list[T] = []
        done = 0
        while done < count:
            usual = scale * self.chunk_size
            rows = _next_chunk(count - done, usual if most is None else min(most, usual))
            chunk = self._or_fewer(partial(forward, slice(done, done + rows)), rows)
            found += chunk
            done += rows * len(chunk)
        return found

    def _or_fewer(self, forward: Callable[[], T], rows: int) -> list[T]:
        """Return what a forward of so many rows gives; nothing where memory runs out, and chunks are smaller then."""
        try:
            return [forward()]
        except RuntimeError as error:
            if not ran_out(error) or rows <= 3 or self.chunk_size <= 2:
                raise
            self.chunk_size = max(2, min(rows, self.chunk_size) // 2)
        garbage_collection_cuda()  # outside the handler, whose traceback holds on to the chunk
        return []

    def _forward(self, probe: Probe, query: Query, needed: Container[str] | None = None) -> Tensor:
        """Return ``(R, C)``. A single row is doubled: models that squeeze would lose its batch dimension."""
        rows = len(query)
        sources = query.sources.expand(max(rows, 2), -1)
        masks = {name: kept.expand(max(rows, 2), -1) for name, kept in query.masks.items()}
        batch = probe.batch(sources, masks, self.device, needed)
        outputs = scores(self.predict(self.module, batch))
        if len(outputs) != len(sources):
            raise ConfigurationError(
                f"the model returned {len(outputs)} rows of scores for {len(sources)} examples; "
                "expected is one row for each. Say predict= to return such."
            )
        return outputs[:rows].detach()


def _next_chunk(remaining: int, limit: int) -> int:
    """Return how many rows to take: the limit, or one more where a single row would be left over."""
    if remaining <= limit:
        return remaining
    return limit if remaining - limit > 1 else limit + 1


def device_of(module: nn.Module) -> torch.device:
    """Return where a model is."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _tolerance(outputs: Tensor) -> float:
    """Return by how much rows may differ, relative to the largest output: rounding in chunks of another size."""
    return 2e-2 if torch.finfo(outputs.dtype).bits < 32 else 1e-4
