"""The callback: hooks that decide when, and delegate."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric

from mviz_lightning.batch import Modalities, parse_modalities
from mviz_lightning.callbacks import lightning_adapter as trainer_facts
from mviz_lightning.callbacks.error_policy import ErrorPolicy, guarded
from mviz_lightning.callbacks.measurement_run import MeasurementRun, RunResult
from mviz_lightning.callbacks.remembering import Remembering
from mviz_lightning.callbacks.reporter import Reporter
from mviz_lightning.callbacks.schedule import NEVER_RAN, Schedule
from mviz_lightning.callbacks.time_budget import PREPARATION, TimeBudget
from mviz_lightning.callbacks.unimodal_collapse import UnimodalCollapse, watching
from mviz_lightning.collapse.rule import state_names
from mviz_lightning.engine.calling import Predict, resolve
from mviz_lightning.errors import ConfigurationError, at_least, renamed_attributes, require_name, require_share
from mviz_lightning.explainers import Method
from mviz_lightning.explainers.contribution_shares.dashboard import dashboard
from mviz_lightning.functional import Task
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.explanation_history import Entry, ExplanationHistory
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session
from mviz_lightning.sinks import Sink, sinks_for
from mviz_lightning.sinks.records import RunRecord


@renamed_attributes(album="explanation_history")
class MultimodalMonitor(Remembering):
    """Shows, validation by validation, how much of a model's outputs each modality explains alone and in interaction.

    The shares are a functional ANOVA (Sobol' indices) of the model's outputs over recombined validation examples:
    ``contribution/<m>`` alone, ``interaction`` together, ``total/<m>`` what would be lost without m. Recombined
    examples may be unlike any real one. A shortcut that training and validation share cannot be seen by this.

    Training with the monitor ends with the same bits as training without it.

    Args:
        modalities: Name -> a leaf of the batch, several leaves that travel together, or a ``Modality``. A leaf is a
            dotted path; digits index tuples and lists: ``{"image": "pixel_values", "text": ["ids", "mask"]}``.
        target: Path of the labels, -100 where there is none. Without it the score keys are absent.
        task: What the outputs stand for; guessed from target and outputs, and said in the log.
        predict: ``(module, batch) -> outputs``, a function or its dotted path, when ``forward`` cannot be called as it
            is or its outputs are no scores.
        score: A torchmetric of predictions and targets; accuracy or R2 by default.
        num_examples: Validation examples that are recombined; by default 128, or 256 where encodings are reused and the
            fusion is cheap.
        group_size: Examples recombined with one another, by default 16 or 32 likewise; two modalities take
            ``num_examples * group_size`` rows.
        reference: Validation examples that are kept in all.
        pairs: Whether shares of single pairs are wanted; by default for three and four modalities.
        budget: Rows a run at the most: shares first, then explanations, of as many examples as it allows.
        chunk_size: Rows a forward; halved when memory runs out.
        reuse: Whether what depends on one modality alone may be run once for each input rather than for each row; it is
            checked, and given up where it is not exact.
        explainers: Methods that explain single examples or survey all, ``DIME()`` for one, each with its own cadence.
        class_names: Of the outputs, for pictures and tables.
        pin: Indices of validation examples that are explained in any case.
        show_inputs: Whether pictures and tables may show your data; otherwise attributions alone.
        every_n_validations: How often the model is measured. EarlyStopping counts a value that was not measured anew
            as no improvement.
        pictures_every_n_validations: How often the curves are drawn; always after the first and at the end.
        max_overhead: Share of the time that the monitor may take, .05 for one: explanations are put off first, shares
            last. By default the cadence does not depend on the clock.
        dataloader_idx: Which validation loader the examples come from.
        checkpoint_megabytes: The examples are saved with checkpoints up to this size; beyond, a resumed training draws
            them again.
        seed: Of everything that is drawn.
        name: Prefix of the logged keys, folder of the files.
        on_error: What a failed run costs: ``"warn"`` that result, ``"raise"`` the training.

    Raises:
        ConfigurationError: An argument is impossible; what depends on model and data is found in the sanity check.

    Example:
        >>> monitor = MultimodalMonitor({"image": "pixel_values", "text": ["input_ids", "attention_mask"]})
        >>> print(monitor.history)
        no run of the monitor yet
    """

    def __init__(
        self,
        modalities: Modalities,
        *,
        target: str | None = None,
        task: Task | None = None,
        predict: Predict | str | None = None,
        score: Metric | None = None,
        num_examples: int | None = None,
        group_size: int | None = None,
        reference: int = 512,
        pairs: bool | None = None,
        budget: int | None = None,
        chunk_size: int = 128,
        reuse: bool = True,
        explainers: Sequence[Method] = (),
        class_names: Sequence[str] | None = None,
        pin: Sequence[int] = (),
        show_inputs: bool = True,
        every_n_validations: int = 1,
        pictures_every_n_validations: int = 5,
        max_overhead: float | None = None,
        dataloader_idx: int = 0,
        checkpoint_megabytes: float = 32,
        seed: int = 0,
        name: str = "mviz",
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self.config = SessionConfig(
            modalities=parse_modalities(modalities),
            target=target,
            task=task,
            predict=resolve(predict),
            score=score,
            num_examples=num_examples,
            group_size=group_size,
            reference=reference,
            pairs=pairs,
            budget=budget,
            chunk_size=chunk_size,
            reuse=reuse,
            explainers=explainers,
            class_names=class_names,
            pin=pin,
            seed=seed,
        )
        self.name, self.dataloader_idx = require_name("name", name), at_least(0, "dataloader_idx", dataloader_idx)
        self.history, self.explanation_history = History(list(self.config.modalities)), ExplanationHistory()
        self._schedule = Schedule(every_n_validations, pictures_every_n_validations, self.config.explainers)
        self.on_error, self._max_overhead = on_error, require_share("max_overhead", max_overhead)
        self.show_inputs, self._checkpoint_bytes = show_inputs, int(checkpoint_megabytes * 2**20)
        self._fit_session, self._stage = Session(self.config), ""
        self._reset(self._fit_session)

    def _reset(self, session: Session) -> None:
        """Begin a run of a trainer: set what ``RUNNING`` names."""
        self._session, self._error_policy = session, ErrorPolicy(self.on_error)
        self._row: RunRecord | None = None
        self._entries: list[Entry] = []
        self._seen, self._disabled = 0, ""
        self._alarm: UnimodalCollapse | None = None
        self._keys = self.config.keys
        self._arrange([], TimeBudget())

    def _arrange(self, sinks: Sequence[Sink], time_budget: TimeBudget) -> None:
        """Decide what the run is written to and how its time is counted."""
        self._reporter = Reporter(
            self.history,
            self.explanation_history,
            dashboard(self.name, self.history.modalities, self._keys),
            sinks,
            time_budget,
        )
        self._reporter.conclude = str if self._alarm is None else partial(self._alarm.conclude, self.history)
        self._measurement_run = MeasurementRun(self._session, self._error_policy, time_budget)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what can be checked before data flows."""
        self._stage = str(getattr(stage, "value", stage))
        try:
            self._begin(trainer, pl_module, fits=self._stage == "fit")
            self._prepare(trainer)
        except Exception as error:
            self._disabled = self._error_policy.absorb(error, fatal=isinstance(error, ConfigurationError))
            self._error_policy.warn(f"the monitor is off, since it could not be set up. {self._disabled}")

    def _prepare(self, trainer: Trainer) -> None:
        """Look around in the trainer; what fails on one process fails on all."""
        trainer_facts.refuse_unsupported(trainer)
        self._session.ranks = trainer_facts.ranks(trainer)
        folder = trainer_facts.run_folder(trainer, self.name)
        with self._session.ranks.raise_on_all_ranks():
            self._alarm = watching(trainer, self.name, self.history.modalities)
            self._keys += [] if self._alarm is None else state_names(self.history.modalities)
            sinks = sinks_for(trainer.loggers, folder) if trainer_facts.writes(trainer) else []
            self._arrange(sinks, TimeBudget(self._max_overhead if self._stage == "fit" else None))

    @guarded
    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the probe from all of the first pass, before a step may change the batch."""
        if self._disabled or dataloader_idx != self.dataloader_idx:
            return
        if batch_idx == 0:
            self._seen = 0
            self._session.begin()
        locate = partial(trainer_facts.positions, trainer, dataloader_idx, self._seen, ranks=self._session.ranks)
        with self._session.failures_kept(), self._measurement_run.time_budget.timed(PREPARATION):
            self._seen += self._session.collect(batch, locate)

    @guarded
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure while validation still runs: averaged weights are swapped back when its epoch ends."""
        if not self._disabled:
            with self._session.failures_kept(), self._measurement_run.time_budget.timed(PREPARATION):
                self._session.dry_run(pl_module, trainer.precision_plugin.forward_context)
        if not trainer.sanity_checking and trainer_facts.is_last_batch(trainer):
            self._measure(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, where monitors and the row of the validation loss can still see it."""
        row = self._error_policy.guard(
            partial(self._conclude, trainer, pl_module), failed="on_validation_epoch_end failed"
        )
        if row is not None and self._alarm is not None:
            self._alarm.act(trainer, pl_module, row, self._error_policy.guard)

    def _conclude(self, trainer: Trainer, pl_module: LightningModule) -> RunRecord | None:
        """End a validation; return the run that was made, of which there is none in the sanity check."""
        if not trainer.sanity_checking:
            self._error_policy.guard(partial(self._measure, trainer), failed="a run failed")
            return self._publish(trainer, pl_module)
        missing = f"dataloader_idx={self.dataloader_idx}: no batch of that loader came by; 0 is the first."
        self._disabled = self._disabled or self._measurement_run.finish_dry_run(missing)
        return None

    # Test is watched as validation is.
    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    @guarded
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the model as it is at the end."""
        epoch, step = self._session.moment = trainer_facts.end(trainer)
        if self.history.fitted and self._session.explainable:
            self._keep(self._measurement_run.explain(self._schedule.unfinished(step)), epoch, step)
            self._show(with_trainer_row=False)

    @guarded
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the whole training, and its examples over the epochs."""
        if self._schedule.validations == 0:
            self._error_policy.warn(NEVER_RAN)
        self._error_policy.guard(self._reporter.finish)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what was found before the training broke off, without hiding why."""
        self._row = None
        self._error_policy.guard(self._reporter.finish, always_warn=True)

    def _measure(self, trainer: Trainer) -> None:
        """Measure once a validation, if one is due."""
        if self._row is not None:
            return
        fits = self._stage == "fit"
        moment = self._session.moment = trainer.current_epoch, trainer_facts.step(trainer)
        results = RunResult(note=self._disabled)
        if (self._schedule.count() if fits else True) and not self._disabled:
            explainers = self._schedule.due() if fits else self.config.explainers
            results = self._measurement_run.attempt(explainers, early=trainer.global_step == 0)
        self._keep(results, *moment)
        self._row = row = RunRecord(self._stage, *moment, results.values, results.note)
        if (alarm := self._alarm) is not None:
            guard = self._error_policy.guard
            self._row = guard(partial(alarm.judge, row, self.history, self._session, guard), row)

    def _keep(self, results: RunResult, epoch: int, step: int) -> None:
        if self._session.pop_renewed():
            self.explanation_history.clear()  # its examples are gone
            self.history.score_reference = None
        for name, found in results.explained.items():
            self._entries.append(Entry(name, self._stage, epoch, step, found.explanations, found.result))
        if self._stage == "fit":
            self._schedule.explained(results.explained, step)
            self._schedule.overdue |= results.put_off

    def _publish(self, trainer: Trainer, pl_module: LightningModule) -> RunRecord | None:
        """Log a run's values and write its row; without values, leave something to monitor."""
        row, self._row = self._row, None
        values, sync = {} if row is None else row.values, self._session.ranks.count > 1
        log = partial(trainer_facts.log, pl_module, self.name, values, sync=sync)
        if not values or not self._error_policy.guard(log, otherwise=False):
            self._error_policy.guard(partial(trainer_facts.stand_in, trainer, self.name, self._keys, self.history))
        if row is None:
            return None
        self._error_policy.guard(partial(self._reporter.write, row))
        self._show(with_trainer_row=True)
        if self._stage == "fit" and self._schedule.draws:
            self._error_policy.guard(partial(self._reporter.draw, with_trainer_row=True))
        if (alarm := self._alarm) is not None:
            self._error_policy.guard(lambda: self._reporter.tell(alarm.announce(trainer, row), row.step))
        return row

    def _show(self, *, with_trainer_row: bool) -> None:
        """Draw and write explanations."""
        entries, self._entries = self._entries, []
        if entries:
            self._error_policy.guard(partial(self._reporter.illustrate, self._session, show_inputs=self.show_inputs))
        for entry in entries:
            self._error_policy.guard(partial(self._reporter.show, entry, with_trainer_row=with_trainer_row))
