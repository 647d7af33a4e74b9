"""The monitor's work without a Trainer: rehearse, collect, complete, run, explain."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.engine import checks
from mviz_lightning.engine.calling import choose
from mviz_lightning.engine.evaluator import ContextFactory, Evaluator, device_of
from mviz_lightning.engine.isolation import isolated, random_states
from mviz_lightning.engine.pairwise_scores import diagonal, scores_all_pairs
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Method, ProbeContext, Shares
from mviz_lightning.functional import Task, levelled
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.base import modality_types_of
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.output_reading import OutputReading
from mviz_lightning.session.probe_sampling import ProbeSampler
from mviz_lightning.session.runner import Explained, ExplainerState, Methods

T = TypeVar("T")

NO_BATCH = "no validation batch came by, of the loader that dataloader_idx= names; 0 is the first."


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
class Session:
    """Fixed examples of one validation set and what is measured on them, again and again.

    A pass over the data begins, its batches are collected, the first is rehearsed; then the study is completed, run and
    explained, as often as wanted. What fails in a pass is kept until :meth:`check` or :meth:`complete`, where all
    processes meet.

    Attributes:
        config: What is studied.
        ranks: The processes that share the work.
        moment: Epoch and step of the training, for those methods that tell of its course.
        notes: What the next row of the history has to mention.
        call: How the model is called, in words.
        reused: What of it is run once for every distinct input, likewise.
        kinds: Modality -> how it is cut and drawn; of the fixed examples, once they are there.
    """

    config: SessionConfig
    ranks: Ranks = field(default_factory=Ranks)
    moment: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)
    call: str = ""
    reused: str = ""
    kinds: Mapping[str, ModalityType] = field(default_factory=dict)
    _collection: ProbeSampler = field(init=False)
    _reading: OutputReading = field(init=False)
    _evaluator: Evaluator | None = None
    _outputs: int = 0
    _shares: Shares | None = None
    _own: Tensor | None = None
    _methods: Methods | None = None
    _past: ExplainerState = field(default_factory=ExplainerState)
    _failure: Exception | None = None

    def __post_init__(self) -> None:
        self._collection = ProbeSampler(self.config)
        self._reading = OutputReading(self.config.task, self.config.class_names)

    def pop_notes(self) -> str:
        """Return, once, what a reader of the history has to know."""
        notes = self._collection.notes + self._reading.notes + self.notes
        self._collection.notes, self._reading.notes, self.notes = [], [], []
        return "; ".join(notes)

    def pop_renewed(self) -> bool:
        """Tell, once, that the examples are others than those of the checkpoint."""
        renewed, self._collection.renewed = self._collection.renewed, False
        return renewed

    @property
    def probe(self) -> Probe | None:
        """The fixed examples; None until the first pass is complete."""
        return self._collection.probe

    @property
    def dry_run_done(self) -> bool:
        """Whether the model has been tried."""
        return self._evaluator is not None

    def studies(self, module: nn.Module) -> bool:
        """Tell whether it is this model that is studied."""
        return self._evaluator is None or self._evaluator.module is module

    def begin(self) -> None:
        """Begin a pass over the data; what an earlier one that broke off left behind is forgotten."""
        self._failure = None
        self._collection.begin()

    @contextmanager
    def failures_kept(self) -> Iterator[None]:
        """Keep what a block raises until all processes meet: it may fail on one alone."""
        try:
            yield
        except Exception as error:
            self._failure = error

    def collect(self, batch: Any, locate: Callable[[int], Sequence[int | None]]) -> int:
        """Consider a batch's examples for the probe.

        Args:
            batch: A validation batch, before a step may have changed it.
            locate: From their number to their positions in the data set; None for one that is there twice.

        Returns:
            How many were considered: none once the probe is complete.
        """
        if self._failure is not None or (self.probe is not None and self.dry_run_done):
            return 0
        with self.failures_kept():
            return self._collection.add(batch, locate)
        return 0

    def dry_run(self, module: nn.Module, precision: ContextFactory = nullcontext) -> None:
        """Try prediction, row independence and units on a few of the first examples, in every pass until it works.

        Args:
            module: The user's model.
            precision: Makes the context under which the trainer calls the model.
        """
        few = self._collection.few
        if few is None or self.dry_run_done or self._failure is not None:
            return
        with self.failures_kept():
            self._try(module, few, precision)

    def _try(self, module: nn.Module, few: Probe, precision: ContextFactory) -> None:
        rows = Query.aligned(torch.arange(few.size), len(few.layout.names)).sources
        with isolated(module, seed=self.config.seed), precision():
            call = choose(module, few.layout, few.batch(rows, {}, device_of(module)), self.config.predict)
        evaluator = Evaluator(
            module, call.predict, self.config.chunk_size, precision, self.config.seed, self.config.reuse
        )
        if scores_all_pairs(evaluator, few):
            evaluator = replace(evaluator, predict=diagonal(call.predict), all_pairs=call.predict)
            call = replace(call, description=f"{call.description}, which scores all pairs")
        outputs = checks.check_independence(evaluator, few)
        if not self.call:  # doubts are said once, and before what comes of them fails
            checks.warn_of_outputs(evaluator, few, call)
            checks.warn_of_stray_leaves(evaluator, few, outputs)
        self.call = call.description
        self._reading.try_on(evaluator, few, outputs.shape[1])
        self.config.check_outputs(outputs.shape[1])
        if self.config.explainers:
            checks.try_segments(evaluator, few, {name: kind.segments for name, kind in modality_types_of(few).items()})
        if self.config.grown(0.0) != self.config:
            self._collection.fusion_share = checks.try_reuse(evaluator, few)
        self.reused = checks.reused(evaluator, few)
        self._evaluator, self._outputs = evaluator, outputs.shape[1]
        self._collection.few = None

    def check(self, missing: str = NO_BATCH, enough: Callable[[list[bool]], bool] = all) -> None:
        """Raise, on all ranks, what failed on any so far.

        Args:
            missing: What to say where no batch was rehearsed.
            enough: Whether all ranks must have rehearsed one, or any.

        Raises:
            ConfigurationError: The model or the batches cannot be studied.
        """
        failure, self._failure = self._failure, None
        with self.ranks.raise_on_all_ranks():
            if failure is not None:
                raise failure
        if not enough(self.ranks.gather(self.dry_run_done)):
            raise ConfigurationError(missing)

    def complete(self) -> None:
        """Draw the probe from what the pass showed, once; all ranks get the same.

        Raises:
            ConfigurationError: There are too few examples, or something failed during the pass.
        """
        self.check()
        if not all(self.ranks.gather(self.probe is not None)):
            self._collection.draw(self.ranks)
        if self._methods is None:
            self._collection.restored = all(self.ranks.gather(self._collection.restored))

    def run(self) -> Measurement:
        """Measure the model as it is now.

        Raises:
            ConfigurationError: The task cannot be told, or labels do not fit it.
            RuntimeError: Outputs are not finite, or the model failed; on all ranks alike.
        """
        probe, evaluator = self._ready()
        started, before = time.perf_counter(), evaluator.rows
        groups, padded = self.ranks.share(probe.groups), self.ranks.padded_share(probe.groups)
        with self.ranks.raise_on_all_ranks():
            shares = self._shares_of(probe)
            outputs = checks.usable(levelled(evaluator(probe, [shares.plan(padded)])[0], shares.task))
        outputs, self._evaluator = self._reading.settle(outputs, shares.task, evaluator, self.ranks)
        with self.ranks.raise_on_all_ranks():
            metrics = shares.metrics(probe, outputs, groups, sync=self.ranks.count > 1)
            own = shares.own(outputs)[: len(groups)].flatten(0, 1)
        self._own = own  # on all ranks or on none
        values = shares.explain(metrics)
        floor = self._reading.floor(outputs, shares.task, len(self.config.modalities))
        rows = (evaluator.rows - before) * self.ranks.count
        return Measurement(values, rows, time.perf_counter() - started, floor)

    def _ready(self) -> tuple[Probe, Evaluator]:
        if self.probe is None or self._evaluator is None:
            raise RuntimeError("there is no probe yet; collect, rehearse and complete first.")
        return self.probe, self._evaluator

    def _shares_of(self, probe: Probe) -> Shares:
        """Settle the task once, on all labels of the probe."""
        if self._shares is None:
            config, size = self.config, probe.groups.shape[1]
            task = self._reading.task_of(probe, self._outputs)
            self._shares = Shares(probe.layout.names, task, size, config.pairs, config.score, config.seed)
        return self._shares

    @property
    def explainable(self) -> bool:
        """Whether examples can be explained: a run has been made."""
        return self._own is not None

    @property
    def task(self) -> Task:
        """What the outputs stand for."""
        return self._shares_of(self._ready()[0]).task

    def score_reference(self) -> ScoreReference:
        """Return what the score is measured against; all ranks get the same."""
        return self._agreed(Shares.score_reference)

    def fit_raw_input_proof(self) -> dict[str, RawInputProof]:
        """Ask the raw inputs of every modality for the labels, without the model; all ranks get the same."""
        return self._agreed(Shares.fit_raw_input_proof)

    def _agreed(self, ask: Callable[[Shares, Probe, int], T]) -> T:
        with self.ranks.raise_on_all_ranks():
            probe, _ = self._ready()
            response = ask(self._shares_of(probe), probe, self._outputs)
        return self.ranks.gather(response)[0]

    def explain(self, method: Method, spent: int = 0) -> Explained:
        """Apply a method with what is left of the budget, behind a run; all ranks get all that it finds.

        Raises:
            ConfigurationError: A modality cannot be cut into units as asked, or there are no features.
            RuntimeError: The model failed; on all ranks alike.
        """
        started = time.perf_counter()
        if self._methods is None:
            with self.ranks.raise_on_all_ranks():
                methods = self._prepared()
            self._methods = methods  # on all ranks or on none
        with random_states():  # a method of the user's own may draw
            explained = self._methods.apply(method, self._own, self.config.left(spent), self.moment)
        self.notes += explained.notes
        return replace(explained, seconds=time.perf_counter() - started)

    def _prepared(self) -> Methods:
        probe, evaluator = self._ready()
        shares, config, positions = self._shares_of(probe), self.config, self._collection.positions
        self.kinds = modality_types_of(probe)
        cut = replace(probe, segments={name: kind.segments for name, kind in self.kinds.items()})
        scale = shares.scale(probe, self._outputs)
        probe_context = ProbeContext(cut, shares.task, shares.design, positions, scale, config.seed)
        self._past = self._past if self._collection.restored else ExplainerState()
        return Methods(probe_context, evaluator, self.ranks, self._outputs, config.pin, self._past)

    def state(self, limit: int) -> dict[str, Any]:
        """Return the probe for a checkpoint: whole up to ``limit`` bytes, otherwise its digest."""
        return self._collection.state(limit) | self._past.state()

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take a probe from a checkpoint; it is used as soon as a first batch shows where its leaves belong."""
        self._collection.load(saved := Saved.of(state))
        self._past = ExplainerState.of(saved)
