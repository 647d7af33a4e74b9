"""The monitor's hooks: they decide when to measure, and delegate to the run of the trainer."""

from functools import partial
from typing import Any

from mviz_lightning.callbacks import trainer_facts
from mviz_lightning.callbacks.closing import Closing
from mviz_lightning.callbacks.error_policy import guarded, is_misconfigured
from mviz_lightning.callbacks.lightning_packages import LightningModule, Trainer
from mviz_lightning.callbacks.monitor_state import Remembering
from mviz_lightning.callbacks.schedule import NEVER_RAN
from mviz_lightning.callbacks.trainer_run import TrainerRun

UNRELEASED = "the user's step could not be put back"
"""Beginning of a warning if the hooks of the observation cannot be removed."""


class Measuring(Remembering):
    """A monitor that measures at every validation, and reports the results at the end.

    Attributes:
        dataloader_idx: Index of the validation loader whose examples are used.
    """

    dataloader_idx: int
    _max_overhead: float | None
    _run: TrainerRun
    _closing: Closing

    @guarded
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check everything that can be checked without data."""
        policy = self._error_policy  # the guard around this hook uses it; _begin sets another one
        self._phase = str(getattr(stage, "value", stage)) if self._revisited is None else "fit"
        try:
            self._begin(trainer, pl_module)
            self._run.attach(trainer, self._max_overhead)
        except Exception as error:
            reason = policy.absorb(error, fatal=is_misconfigured(error))
            self._run.disable(reason)
            policy.warn(f"the monitor is off, since it could not be set up. {reason}")

    @guarded
    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect examples from the whole first pass, before a step may change the batch."""
        if not self._run.disabled and dataloader_idx == self.dataloader_idx:
            self._run.collect(trainer, batch, batch_idx, dataloader_idx)
            self._run.watch(trainer, pl_module, batch, batch_idx)

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
        """Measure at the last batch, before callbacks that average weights restore the other weights."""
        self._error_policy.guard(self._run.release, failed=UNRELEASED)
        if not self._run.disabled:
            self._run.dry_run(trainer, pl_module)
        if not trainer.sanity_checking and trainer_facts.is_last_batch(trainer):
            self._run.measure(trainer)

    @guarded
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the run, before callbacks read the values and the logger writes the row of the validation loss."""
        if trainer.sanity_checking:
            self._run.finish_dry_run(trainer_facts.unknown_loader(trainer, self.dataloader_idx))
            return
        self._error_policy.guard(partial(self._run.measure, trainer), failed="a run failed")
        if (row := self._run.publish(trainer, pl_module)) is not None:
            self._closing.add(row)
            if self._revisited is None:  # actions need a training
                self._run.act(trainer, pl_module, row)

    @guarded
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Provide a value for monitored keys if an error prevented the logging of the run."""
        if not trainer.sanity_checking:
            trainer_facts.stand_in_monitored(trainer, self.name, self._run.keys, self.history)

    # A test is measured like a validation.
    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    @guarded
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the final model."""
        self._run.explain_end(trainer)

    @guarded
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the whole training, and its examples over the epochs."""
        if self._schedule.validations == 0 and not self._run.disabled:
            self._error_policy.warn(NEVER_RAN)
        self._run.finish()

    @guarded
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Report the results after all other output; a spawned process sends them back."""
        if self._revisited is None:
            self._error_policy.guard(partial(self._closing.tell, table=self._run.fits))
            self._error_policy.guard(self._run.reporter.close)
        self.send_back(trainer)

    def finish_revisits(self) -> None:
        """Draw the curves and the examples over all revisited moments, and report the results."""
        self._run.finish()
        self._closing.tell(table=True)
        self._run.reporter.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the results so far when an error ends the training, without hiding this error."""
        self._error_policy.guard(self._run.release, failed=UNRELEASED, always_warn=True)
        self._error_policy.guard(self._run.break_off, always_warn=True)
        self._error_policy.guard(partial(self._closing.tell, table=False, always_warn=True), always_warn=True)
        self._error_policy.guard(self._run.reporter.close, always_warn=True)
        self._error_policy.guard(partial(self.send_back, trainer), always_warn=True)
