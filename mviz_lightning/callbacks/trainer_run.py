"""One run of a trainer: the monitor's hooks call it, and it ends with the run."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.alarm_pairing import Alarm, alarm_of, judged
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.lightning_packages import LightningModule, Trainer
from mviz_lightning.callbacks.measurement_run import MeasurementRun, RunResult
from mviz_lightning.callbacks.reporter import Reporter
from mviz_lightning.callbacks.run_description import RunDescription
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.callbacks.time_budget import PREPARATION, SHARES, TimeBudget
from mviz_lightning.collapse.rule import state_name
from mviz_lightning.engine.side_effects import SideEffects
from mviz_lightning.explainers.contribution_shares.dashboard import dashboard
from mviz_lightning.explainers.contribution_shares.patterns import pattern_table
from mviz_lightning.session.explanation_history import ExplanationHistory, TimedResult
from mviz_lightning.session.history import History
from mviz_lightning.session.run_archive import RunArchive
from mviz_lightning.session.session import Session
from mviz_lightning.sinks import Sink, sinks_for
from mviz_lightning.sinks.records import RunRecord, Table, of_head

NOT_SET_UP = "the monitor was not set up"
"""Reason why the monitor is off before its ``setup``."""


class TrainerRun:
    """One fit, validation or test of a trainer.

    Args:
        name: Prefix of the logged keys.
        phase: ``"fit"``, ``"validate"`` or ``"test"``; ``""`` before a trainer came.
        session: The session that measures.
        history: All runs so far; it outlasts this run.
        explanation_history: All explanations so far; it outlasts this run.
        schedule: The work that is due at each validation of the fit.
        error_policy: Decides whether a failure becomes a warning or ends the training.
        show_inputs: Whether pictures and tables may show the user's data.
        shown: Names of the values that the trainer's progress bar shows.

    Attributes:
        disabled: Reason why the monitor is off; ``""`` while it is on. A trainer's ``setup`` switches it on.
        row: The run of the present validation, between measurement and logging.
        tables: The tables of that run.
    """

    def __init__(
        self,
        name: str,
        phase: str,
        session: Session,
        history: History,
        explanation_history: ExplanationHistory,
        schedule: Schedule,
        error_policy: ErrorPolicy,
        *,
        show_inputs: bool,
        shown: Collection[str] = (),
    ) -> None:
        self.name, self.phase, self.session = name, phase, session
        self.history, self.explanation_history, self.schedule = history, explanation_history, schedule
        self.error_policy, self.show_inputs, self.shown = error_policy, show_inputs, shown
        self.disabled = NOT_SET_UP
        self.row: RunRecord | None = None
        self.entries: list[TimedResult] = []
        self.tables: list[Table] = []
        self.alarm: Alarm | None = None
        self.keys = session.keys
        self._seen, self._told = 0, set[str]()
        self._side_effects, self._watched, self._description = SideEffects(), set[str](), RunDescription()
        self._arrange([], TimeBudget())

    def _arrange(self, sinks: Sequence[Sink], time_budget: TimeBudget, archive: RunArchive | None = None) -> None:
        """Set the sinks of the run, its time budget, and its archive."""
        self.reporter = Reporter(
            self.history,
            self.explanation_history,
            dashboard(self.name, self.history.modalities, self.keys, self.session.heads),
            sinks,
            time_budget,
            explainers=self.session.config.explainers,
            conclude=str if self.alarm is None else partial(self.alarm.conclude, self.history),
            archive=archive,
            told=self._told,
        )
        self.measurement_run = MeasurementRun(self.session, self.error_policy, time_budget)

    @property
    def fits(self) -> bool:
        """Whether this is a fit."""
        return self.phase == "fit"

    def attach(self, trainer: Trainer, max_overhead: float | None) -> None:
        """Find processes, alarm and loggers of a trainer; a failure on one process counts on all.

        Args:
            trainer: The trainer of this run.
            max_overhead: Share of the time that the monitor may take in a fit.

        Raises:
            ConfigurationError: The strategy is not supported, or there are several alarms.
        """
        trainer_facts.refuse_unsupported(trainer)
        ranks = trainer_facts.ranks(trainer)
        self.session.share_among(ranks)
        folder = trainer_facts.run_folder(trainer, self.name)
        with ranks.raise_on_all_ranks():
            self.alarm = alarm_of(trainer, self.name, self.session.config.modalities, self.history)
            self.session.judge_by(judged=self.alarm is not None, kin=None if self.alarm is None else self.alarm.kin)
            self.keys = self._named_keys()
            writes = trainer_facts.writes(trainer)
            sinks, archive = (sinks_for(trainer.loggers, folder), RunArchive.at(folder)) if writes else ([], None)
            self._arrange(sinks, TimeBudget(max_overhead if self.fits else None), archive)
        self.disabled = ""

    def disable(self, reason: str) -> None:
        """Turn the monitor off for this run."""
        self.disabled = reason

    def collect(self, trainer: Trainer, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        """Collect the examples of a batch."""
        if batch_idx == 0:
            self._seen = 0
            self.session.begin()
        locate = partial(trainer_facts.positions, trainer, dataloader_idx, self._seen, ranks=self.session.ranks)
        with self.session.failures_kept(), self.measurement_run.time_budget.timed(PREPARATION):
            self.session.meet(trainer.lightning_module, trainer.precision_plugin.forward_context)
            self._seen += self.session.collect(batch, locate)

    def watch(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Watch the user's own step: all of it in the sanity check, whose values are not used; later its outputs."""
        with self.session.failures_kept():
            if trainer.sanity_checking and not self.session.dry_run_done:
                self.session.watch(pl_module, trainer_facts.step_name(trainer), batch)
            elif not trainer.sanity_checking:
                self.session.watch_outputs(pl_module, batch, first=batch_idx == 0)

    def release(self) -> None:
        """Remove all hooks from the model."""
        self.session.release()

    def dry_run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try the model on the first examples."""
        step, precision = trainer_facts.step_name(trainer), trainer.precision_plugin.forward_context
        timed = self.measurement_run.time_budget.timed(PREPARATION)
        noticed = self._noticed(trainer, closely=not self.session.dry_run_done)
        with self.session.failures_kept(), timed, noticed, trainer_facts.beyond_sanity_check(trainer):
            self.session.dry_run(pl_module, precision, step)

    def _noticed(self, trainer: Trainer, *, closely: bool) -> AbstractContextManager[None]:
        """Record changes in a block that cannot be undone; never ``closely`` with ``on_side_effect="ignore"``."""
        wanted = closely and self.error_policy.on_side_effect != "ignore"
        return self._side_effects.noticed(trainer.lightning_module, self.session.config.predict, closely=wanted)

    def _heed_side_effects(self) -> None:
        """Apply ``on_side_effect`` to changes that cannot be undone; all processes must call it."""
        found = dict.fromkeys(name for names in self.session.ranks.gather(self._side_effects.pop()) for name in names)
        reason = self.error_policy.heed_side_effects(list(found))
        self.disabled = self.disabled or reason

    def _share_start(self, trainer: Trainer) -> None:
        """Try the model on processes without a batch, with the first examples of another process."""
        step, precision = trainer_facts.step_name(trainer), trainer.precision_plugin.forward_context
        with self.session.failures_kept(), self.measurement_run.time_budget.timed(PREPARATION):
            self.session.share_start(trainer.lightning_module, precision, step)

    def finish_dry_run(self, unknown: str) -> None:
        """End the sanity check; ``unknown`` is a message if the loader does not exist, otherwise ``""``."""
        self.disabled = self.disabled or self.measurement_run.finish_dry_run(unknown)
        self._heed_side_effects()
        self._rearrange()

    def _rearrange(self) -> None:
        """Arrange the curves again if the observed step added values, such as scores if it has labels."""
        self.history.name_main_head(self.session.called)
        keys = self._named_keys()
        if keys != self.keys:
            self.keys = keys
            self._arrange(self.reporter.sinks, self.measurement_run.time_budget, self.reporter.archive)

    def _named_keys(self) -> list[str]:
        """Return the names of all values of a run, as far as they are known."""
        sessions = {} if self.alarm is None else {"": self.session, **self.session.heads}
        judged = [(head, name) for head, one in sessions.items() for name in one.config.modalities]
        return [*self.session.keys, *(of_head(head, state_name(name)) for head, name in judged)]

    def measure(self, trainer: Trainer) -> None:
        """Measure the model if a run is due and was not yet made at this validation."""
        if self.row is not None:
            return
        moment = trainer.current_epoch, trainer_facts.step(trainer)
        results = RunResult(note=self.disabled)
        if (self.schedule.count() if self.fits else True) and not self.disabled:
            results = self._measured(trainer, moment)
        self._keep(results, *moment)
        evidence, heads = dict(results.evidence), list(results.heads)
        self.row = RunRecord(self.phase, *moment, dict(results.values), results.note, evidence, heads)
        judge = partial(judged, self.alarm, self.row, self.history, self.session, self.error_policy.guard)
        self.row = self.error_policy.guard(judge, self.row, failed="the alarm could not judge a run")

    def _measured(self, trainer: Trainer, moment: tuple[int, int]) -> RunResult:
        """Measure and explain the model; the first runs of each method are watched closely."""
        explainers = self.schedule.due() if self.fits else self.session.config.explainers
        works = {SHARES, *(explainer.name for explainer in explainers)}
        with self._noticed(trainer, closely=not works <= self._watched):
            self._share_start(trainer)
            results = self.measurement_run.attempt(explainers, early=trainer.global_step == 0, moment=moment)
        self._watched |= {*results.explained, *([SHARES] if results.values else [])}
        self._heed_side_effects()
        self._rearrange()
        return results

    def _keep(self, results: RunResult, epoch: int, step: int) -> None:
        """Store the results of a run until they are shown."""
        if self.session.pop_renewed():  # explanations and score reference belong to other examples
            self.explanation_history.clear()
            self.history.measure_against({})
        if results.values:
            self.history.advise(results.advice)
        when = f"epoch {epoch} (step {step})"
        self.tables = [pattern_table(patterns, when, head) for head, patterns in results.patterns.items()]
        for found in results.explained.values():
            if found.result is not None:
                self.entries.append(TimedResult(found.explainer, found.result, self.phase, epoch, step, found.head))
        if self.fits:
            self.schedule.explained((found.explainer.name for found in results.explained.values()), step)
            if results.put_off:
                self.schedule.put_off()

    def publish(self, trainer: Trainer, pl_module: LightningModule) -> RunRecord | None:
        """Log a run's values and write its row; without values, provide placeholders for monitored keys."""
        row, self.row = self.row, None
        values, sync = {} if row is None else row.values, self.session.ranks.count > 1
        log = partial(trainer_facts.log, pl_module, self.name, values, sync=sync, shown=self.shown)
        if not values or not self.error_policy.guard(log, otherwise=False):
            self.error_policy.guard(partial(trainer_facts.stand_in, trainer, self.name, self.keys, self.history))
        self.error_policy.guard(
            lambda: trainer_facts.stand_in_monitored(trainer, self.name, self.session.unmeasured_keys, self.history)
        )
        if row is None:
            return None
        self.error_policy.guard(partial(self.reporter.write, row))
        self._describe(trainer, row, finished=not trainer_facts.trains(trainer))
        self.error_policy.guard(partial(self.reporter.tell, self.tables, row))
        self._show(with_trainer_row=True)
        if self.fits and self.schedule.draws:
            self.error_policy.guard(partial(self.reporter.draw, with_trainer_row=True))
        if (alarm := self.alarm) is not None:
            self.error_policy.guard(
                lambda: self.reporter.tell(alarm.announce(trainer, row), row),
                failed="the alarm could not be announced",
            )
        return row

    def _describe(self, trainer: Trainer, row: RunRecord | None = None, *, finished: bool = False) -> None:
        """Write the description of the run, if it measured something."""
        if (archive := self.reporter.archive) is not None and self.history:
            found = partial(self._description.of, trainer, archive.folder, self.name, self.session, self.alarm, row)
            self.error_policy.guard(lambda: archive.describe(found(), finished=finished))

    def _show(self, *, with_trainer_row: bool) -> None:
        """Draw and write the explanations of the last run."""
        entries, self.entries = self.entries, []
        if entries:
            self.error_policy.guard(partial(self.reporter.illustrate, self.session, show_inputs=self.show_inputs))
        for entry in entries:
            self.error_policy.guard(partial(self.reporter.show, entry, with_trainer_row=with_trainer_row))

    def act(self, trainer: Trainer, pl_module: LightningModule, row: RunRecord) -> None:
        """Call the alarm's actions; an error in a user's function ends the training."""
        if self.alarm is not None:
            self.alarm.act(trainer, pl_module, row, self.error_policy.unguarded)

    def explain_end(self, trainer: Trainer) -> None:
        """Explain the model at the end of the fit."""
        epoch, step = trainer_facts.end(trainer)
        if self.history.fitted and self.session.explainable:
            with self._noticed(trainer, closely=True):
                found = self.measurement_run.explain(self.schedule.unfinished(step), (epoch, step))
            self._heed_side_effects()
            self._keep(found, epoch, step)
            self._show(with_trainer_row=False)
        self._describe(trainer, finished=True)

    def finish(self) -> None:
        """Draw the curves of the whole training, and its examples over the epochs."""
        self.error_policy.guard(self.reporter.finish)

    def break_off(self) -> None:
        """Draw the results so far when an error ends the training, without hiding this error."""
        self.row = None
        self.reporter.finish()
