"""The preparation of the first run: the dry run of the model, and the collection of the fixed examples."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.padding import read_as_padding_masks
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.shape_choice import ShapeChoice
from mviz_lightning.observation.observed_step import StepObserver
from mviz_lightning.observation.own_outputs import OwnOutputs
from mviz_lightning.observation.ways import StepFunction
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.dry_run import DryRun
from mviz_lightning.session.further_heads import labelling
from mviz_lightning.session.kept_failure import KeptFailure
from mviz_lightning.session.label_reading import LabelReader
from mviz_lightning.session.output_reading import OutputReading
from mviz_lightning.session.probe_sampling import ProbeSampler
from mviz_lightning.session.remarks import Remarks
from mviz_lightning.session.saved_probe import Collected, RestoredExamples
from mviz_lightning.session.shared_start import start_of_another
from mviz_lightning.session.tried_model import TriedModel
from mviz_lightning.session.value_names import value_names


@dataclass
class Preparation:
    """A model and the fixed examples of one validation set, before and between the runs.

    A pass over the data calls :meth:`begin`, then :meth:`collect` and :meth:`dry_run` for its batches;
    :meth:`complete` fixes the examples. An error during a pass is kept until :meth:`check` or :meth:`complete`, where
    all processes meet.

    Attributes:
        config: The configuration of the measurement; it never changes.
        ranks: The processes that share the work.
        remarks: Lines for the log, and notes for the next row of the history.
        judged: Whether an alarm reads the runs; they then measure the score on all fixed examples too.
    """

    config: SessionConfig
    ranks: Ranks = field(default_factory=Ranks)
    remarks: Remarks = field(default_factory=Remarks)
    judged: bool = False
    _sampler: ProbeSampler = field(init=False)
    _reading: OutputReading = field(init=False)
    _dry_run: DryRun = field(init=False)
    _observer: StepObserver = field(default_factory=StepObserver)
    _own_outputs: OwnOutputs = field(default_factory=OwnOutputs)
    _shape_choice: ShapeChoice = field(default_factory=ShapeChoice)
    _tried: TriedModel | None = None
    _collected: Collected | None = None
    _renewed: bool = False
    _restored: RestoredExamples = field(default_factory=RestoredExamples)
    _failure: KeptFailure = field(default_factory=KeptFailure)

    def __post_init__(self) -> None:
        self._sampler = ProbeSampler(self.config)
        reader = LabelReader(self.config.task, self.config.class_names, scored=self.config.score is not None)
        self._reading = OutputReading(reader, self.remarks)
        self._dry_run = DryRun(self.config, self._reading, self.remarks)

    def share_among(self, ranks: Ranks) -> None:
        """Share the work among these processes from now on."""
        self.ranks = ranks

    def judge_by(self, *, judged: bool, kin: str | None = None) -> None:
        """Start or stop measuring the evidence for an alarm.

        Args:
            judged: Whether an alarm reads the runs.
            kin: Path of the leaf whose equal entries mark kin examples (a patient, a video); None if no two are.

        Raises:
            ConfigurationError: The batches have no such leaf.
        """
        self.judged = judged
        self._sampler.reader.group_by(kin)

    def pop_notes(self) -> str:
        """Return notes for a reader of the next row; each note is returned once."""
        return self.remarks.pop_notes()

    def pop_renewed(self) -> bool:
        """Return, once, whether the examples differ from those of the checkpoint."""
        renewed, self._renewed = self._renewed, False
        return renewed

    @property
    def probe(self) -> Probe | None:
        """The fixed examples; None until a pass is complete."""
        return None if self._collected is None else self._collected.probe

    @property
    def positions(self) -> Sequence[int]:
        """Position of each fixed example in the data set."""
        return () if self._collected is None else self._collected.positions

    @property
    def dry_run_done(self) -> bool:
        """Whether the model passed the dry run."""
        return self._tried is not None

    @property
    def call(self) -> str:
        """Description of the call of the model; ``""`` until a call worked."""
        return self._dry_run.call

    @property
    def keys(self) -> list[str]:
        """Names of the values of a run, without prefix, as far as they are known before it."""
        return value_names(self.config, self._tried)

    @property
    def reused(self) -> str:
        """Submodules that run once for every distinct input, as text."""
        return "" if self._tried is None else self._tried.reused

    def measures(self, module: nn.Module) -> bool:
        """Return whether this is the model that is measured, or none is yet."""
        return self._tried is None or self._tried.evaluator.module is module

    def meet(self, module: nn.Module, precision: ContextFactory = nullcontext) -> None:
        """Read from a model, before its first batch, which tokens of texts are placeholders of other modalities."""
        with self.failures_kept():
            self._sampler.reader.meet(module, precision)

    def begin(self) -> None:
        """Begin a pass over the data; anything left by an interrupted pass is dropped."""
        self._failure.forget()
        self._sampler.begin()

    def failures_kept(self) -> AbstractContextManager[None]:
        """Keep an error of the block until all processes meet: the block may fail on one of them alone."""
        return self._failure.kept()

    def collect(self, batch: Any, locate: Callable[[int], Sequence[int | None]]) -> int:
        """Consider a batch's examples for the probe.

        Args:
            batch: A validation batch, before a step may have changed it.
            locate: Number of examples -> position of each in the data set; None for one that occurs twice.

        Returns:
            Number of examples considered; 0 once the probe is complete.
        """
        complete = self._collected is not None and self.dry_run_done
        if self._failure.error is not None or (complete and not self._restored.compared_on):
            return 0
        with suppress(Exception) if complete else self._failure.kept_of(batch):
            observed = self._sampler.reader.observe(batch)
            if self._collected is None:
                self._take(self._sampler.restore())
            if self._collected is None:
                self._sampler.keep(observed, locate(observed.count))
            else:
                self.remarks.say(self._restored.compare(observed.leaves, locate(observed.count)))
            return observed.count
        return 0

    def _take(self, collected: Collected | None) -> None:
        if collected is not None:
            self._collected, self._renewed = collected, collected.renewed
            self._restored = RestoredExamples(self._sampler.saved.whole if collected.restored else None)
            self.remarks.say_all(collected.notes)

    def watch(self, module: nn.Module, step: str, batch: Any) -> None:
        """Watch the next call of the user's own step, by name, which will get the batch of the first examples."""
        reader = self._sampler.reader
        if reader.pop_fresh() and reader.schema is not None and self._failure.error is None:
            with suppress(Exception):  # then the step is replayed, which reports the reason
                self._observer.watch(module, step, batch, reader.schema)

    def watch_outputs(self, module: nn.Module, batch: Any, *, first: bool = True) -> None:
        """Keep the user's own outputs of a few complete rows of the first batch of a validation that has some."""
        if first:
            self._own_outputs.forget()
        schema, call = self._sampler.schema, None if self._tried is None else self._tried.compared_call
        if call is not None and schema is not None and not self._own_outputs.watched:
            with suppress(Exception):  # then the step is replayed
                self._own_outputs.watch(module, call, batch, schema)

    def release(self) -> None:
        """Remove everything from the model: the step of the batch has ended."""
        self._observer.release()
        self._own_outputs.release()

    def dry_run(
        self, module: nn.Module, precision: ContextFactory = nullcontext, step: StepFunction | None = None
    ) -> None:
        """Try prediction, row independence and segments on a few of the first examples, in every pass until it works.

        Args:
            module: The user's model.
            precision: Makes the context in which the trainer calls the model.
            step: The user's own step, which is replayed if no call of it was watched; None if there is none.
        """
        trial = self._sampler.reader.trial
        if trial is None or self.dry_run_done or self._failure.error is not None:
            return
        with self.failures_kept():
            seen = None if step is None else self._observer.seen(module, step, trial, precision)
            self._tried = self._dry_run.run(module, trial, precision, seen)
            self.config = self._dry_run.config
            if (labelled := self._labelled(self._tried)) is not None:
                self._sampler.label_by(labelled, self.config.target or self._tried.path)

    def _labelled(self, tried: TriedModel) -> Callable[[Probe], Probe] | None:
        """Return a function that gives examples their labels; None if a leaf named for the whole model holds them."""
        return labelling(self.config.target, self._sampler.reader.target, tried)

    def share_start(self, module: nn.Module, precision: ContextFactory, step: StepFunction) -> None:
        """Try the model on first examples of another process if this one got none; all processes must call it."""
        reader = self._sampler.reader
        start = start_of_another(reader.trial, self.ranks, self.config.modalities)
        if start is not None and reader.schema is None:
            with self.failures_kept():
                reader.start_from(start)
                self._take(self._sampler.restore())
            self.dry_run(module, precision, step)

    def check(self, *, complete: bool = True) -> None:
        """Raise, on all processes, an error that any of them met so far.

        Args:
            complete: Whether all processes must have done a dry run.

        Raises:
            ConfigurationError: The model or the batches cannot be used.
            NoBatchError: No batch reached a dry run.
            RuntimeError: The user's own step shows the processes different things.
        """
        self.raise_failure()
        facts = self.ranks.gather(None if self._tried is None else self._tried.facts)
        if complete and None in facts:
            self._sampler.reader.tally.require(self.ranks, final=True)
        if set(facts) == {None}:
            self._sampler.reader.tally.require(self.ranks, final=False)
            self.remarks.say(self._sampler.reader.tally.waits, noted=False)
        if len({one for one in facts if one is not None}) > 1:  # the processes would deadlock
            raise RuntimeError(f"the step showed other outputs, tasks or labels on other processes: {facts}")

    def raise_failure(self) -> None:
        """Raise, on all processes, an error that was kept on any."""
        self._failure.raise_on_all_ranks(self.ranks)

    def complete(self) -> None:
        """Fix the examples, once, from the results of the pass; all processes get the same.

        Raises:
            ConfigurationError: There are too few examples, or something failed during the pass.
        """
        self.check()
        if not all(self.ranks.gather(self._collected is not None)):
            self._take(self._sampler.draw(self.ranks, 1.0 if self._tried is None else self._tried.fusion_share))
        self._label()
        self.remarks.say(self._sampler.counts.line, once="presence")
        collected, _ = self._ready()
        self._collected = replace(collected, restored=all(self.ranks.gather(collected.restored)))
        self._sampler.reader.drop_trial()
        self._restored = RestoredExamples()
        self.remarks.say(read_as_padding_masks(self.config.modalities, collected.probe.schema))

    def fit_shapes(self) -> None:
        """Evaluate examples in the shapes of their own batches from now on if padding changes what the model returns.

        Raises:
            RuntimeError: The model failed; on all processes alike.
        """
        collected, tried = self._ready()
        probe, line = self._shape_choice.of(tried.evaluator, collected.probe, self.ranks)
        self.remarks.say(line)
        if probe is not collected.probe:
            self._collected = replace(collected, probe=probe)

    def _label(self) -> None:
        """Give the examples of a checkpoint the labels that the user's own step computes."""
        collected, tried = self._ready()
        if (labelled := self._labelled(tried)) is not None and collected.probe.labels is None:
            self._collected = replace(collected, probe=labelled(collected.probe))

    def _ready(self) -> tuple[Collected, TriedModel]:
        if self._collected is None or self._tried is None:
            raise RuntimeError("there is no probe yet; call collect, dry_run and complete first.")
        return self._collected, self._tried

    def state(self, limit: int) -> dict[str, Any]:
        """Return the probe in plain types, for checkpoints: whole up to ``limit`` bytes, beyond it its digest."""
        return self._sampler.saved.state() if self._collected is None else self._collected.state(limit)

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take the probe of a checkpoint; it is used once a first batch shows the schema."""
        self._sampler.load(state)
