"""The callback: hooks that decide when, and delegate."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torchmetrics import Metric

from mviz_lightning.batch import Modalities, parse_modalities, require_name
from mviz_lightning.callbacks import trainer as trainer_facts
from mviz_lightning.callbacks.journal import Journal
from mviz_lightning.config import StudyConfig
from mviz_lightning.errors import ConfigurationError, MonitorWarning
from mviz_lightning.evaluation.prediction import Predict, resolve
from mviz_lightning.functional import Task
from mviz_lightning.history import History
from mviz_lightning.ranks import Ranks
from mviz_lightning.records import Row
from mviz_lightning.sinks import sinks_for
from mviz_lightning.study import Study


class MultimodalMonitor(Callback):
    """Shows, validation by validation, how much of a model's outputs each modality explains alone and in interaction.

    The shares are a functional ANOVA (Sobol' indices) of the model's outputs over recombined validation examples:
    ``contribution/<m>`` alone, ``interaction`` together, ``total/<m>`` what would be lost without m. Recombined
    examples may be unlike any real one. A shortcut that training and validation share cannot be seen by this.

    Training with the monitor ends with the same bits as training without it.

    Args:
        modalities: Name -> a leaf of the batch, several leaves that travel together, or a ``Modality``. A leaf is a
            dotted path; digits index tuples and lists: ``{"image": "pixel_values", "text": ["ids", "mask"]}``.
        target: Path of the labels. Without it the score keys are absent.
        task: What the outputs stand for; guessed from target and outputs.
        predict: ``(module, batch) -> outputs``, a function or its dotted path, when ``forward`` cannot be called as it
            is or its outputs are no scores.
        score: A torchmetric of predictions and targets; accuracy or R2 by default.
        num_examples: Validation examples that are recombined.
        group_size: Examples recombined with one another; two modalities take ``num_examples * group_size`` forwards.
        reference: Validation examples that are kept in all.
        pairs: Whether shares of single pairs are wanted; by default for three and four modalities.
        budget: Forwards a run at the most.
        chunk_size: Rows a forward; halved when memory runs out.
        every_n_validations: How often the model is measured. EarlyStopping counts a value that was not measured anew
            as no improvement.
        pictures_every_n_validations: How often the curves are drawn; always after the first and at the end.
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
        num_examples: int = 128,
        group_size: int = 16,
        reference: int = 512,
        pairs: bool | None = None,
        budget: int | None = None,
        chunk_size: int = 128,
        every_n_validations: int = 1,
        pictures_every_n_validations: int = 5,
        dataloader_idx: int = 0,
        checkpoint_megabytes: float = 32,
        seed: int = 0,
        name: str = "mviz",
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self.config = StudyConfig(
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
            seed=seed,
        )
        if on_error not in ("warn", "raise"):
            raise ConfigurationError(f"on_error={on_error!r}: choose 'warn' or 'raise'.")
        self.name, self.on_error = require_name("name", name), on_error
        self.dataloader_idx = _at_least(0, "dataloader_idx", dataloader_idx)
        self.every_n_validations = _at_least(1, "every_n_validations", every_n_validations)
        self.pictures_every_n_validations = _at_least(1, "pictures_every_n_validations", pictures_every_n_validations)
        self.history = History(list(self.config.modalities))
        self._checkpoint_bytes = int(checkpoint_megabytes * 2**20)
        self._validations = 0
        self._fit_study = Study(self.config)
        self._reset(self._fit_study)

    def _reset(self, study: Study) -> None:
        self._study = study
        self._row: Row | None = None
        self._seen = 0
        self._warned: set[str] = set()
        self._disabled = ""
        self._clock = time.perf_counter()

    @property
    def state_key(self) -> str:
        """A monitor of another name keeps a state of its own."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """Return history and probe in plain types, which every way of loading checkpoints takes."""
        probe = self._fit_study.state(self._checkpoint_bytes)
        return {"history": self.history.state(), "validations": self._validations, "probe": probe}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history and, in fit, with the same probe; elsewhere keep a history that is there."""
        self._guard(partial(self._load, state_dict))

    def _load(self, state_dict: dict[str, Any]) -> None:
        if self._stage == "fit" or not self.history:
            self.history.load(state_dict["history"])
        if self._stage == "fit":
            self._validations = state_dict["validations"]
            self._study.load(state_dict["probe"])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what can be checked before data flows."""
        trainer_facts.refuse_unsupported(trainer)
        self._stage = str(getattr(stage, "value", stage))
        fits = self._stage == "fit"
        continues = fits and trainer.global_step > 0 and self._fit_study.studies(pl_module)
        self._reset(self._fit_study if continues else Study(self.config))
        if fits and not continues:
            self._fit_study, self._validations = self._study, 0
            self.history.clear()
        self._study.ranks = Ranks(trainer.global_rank, trainer.world_size)
        folder = trainer_facts.run_folder(trainer, self.name)
        writes = trainer.is_global_zero and not trainer_facts.is_trial(trainer)
        self._journal = Journal(self.history, self.name, sinks_for(trainer.loggers, folder) if writes else [])

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Collect the probe from all of the first pass, before a step may change the batch."""
        if self._disabled or dataloader_idx != self.dataloader_idx:
            return
        if batch_idx == 0:
            self._seen = 0
            self._study.begin()
        self._seen += self._study.collect(batch, partial(self._positions, trainer))

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
            self._study.rehearse(pl_module, trainer.precision_plugin.forward_context)
        if not trainer.sanity_checking and trainer_facts.is_last_batch(trainer):
            self._measure(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, where monitors and the row of the validation loss can still see it."""
        if trainer.sanity_checking:
            self._finish_rehearsal()
        else:
            self._measure(trainer)
            self._publish(trainer, pl_module)

    # Test is watched as validation is.
    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves of the whole training."""
        if self._validations == 0:
            self._warn(
                "the monitor never ran, because no validation came by; look at limit_val_batches, "
                "check_val_every_n_epoch, the validation loader and validation_step."
            )
        self._guard(self._journal.draw)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what was found before the training broke off, without hiding why."""
        self._row = None
        if hasattr(self, "_journal"):
            self._guard(self._journal.draw, always_warn=True)

    def _positions(self, trainer: Trainer, count: int) -> list[int | None]:
        return trainer_facts.positions(trainer, self.dataloader_idx, self._seen, count, self._study.ranks)

    def _finish_rehearsal(self) -> None:
        """Forget what the sanity check collected, and raise on all ranks what failed on one."""
        try:
            self._study.check(f"dataloader_idx={self.dataloader_idx}: no batch of that loader came by.", any)
            rank_zero_info(f"MultimodalMonitor: the model is called as {self._study.call}")
        except Exception as error:
            if isinstance(error, ConfigurationError) or self.on_error == "raise":
                raise
            self._disabled = f"{type(error).__name__}: {error}"
            self._warn(f"the monitor is off for this training, since the model could not be tried. {self._disabled}")
        finally:
            self._study.begin()

    def _measure(self, trainer: Trainer) -> None:
        """Measure once a validation, if one is due."""
        if self._row is not None:
            return
        due = self._stage != "fit" or self._validations % self.every_n_validations == 0
        self._validations += self._stage == "fit"
        values, note = self._attempt(trainer) if due and not self._disabled else ({}, self._disabled)
        self._row = Row(self._stage, trainer.current_epoch, trainer_facts.step(trainer), values, note)

    def _attempt(self, trainer: Trainer) -> tuple[dict[str, float], str]:
        """Return values and a note; a failure costs this run only."""
        rehearsed = any(self._study.ranks.gather(self._study.rehearsed))  # or one rank would raise and others wait
        try:
            values = self._run()
        except Exception as error:
            # Before the training is the time to hear of a wrong configuration; an hour into it is not.
            early = isinstance(error, ConfigurationError) and not rehearsed and trainer.global_step == 0
            if early or self.on_error == "raise":
                raise
            failure = f"{type(error).__name__}: {error}"
            self._warn(f"a run failed; callbacks that monitor a share see a stand-in. {failure}")
            return {}, failure
        return values, self._study.pop_notes()

    def _run(self) -> dict[str, float]:
        self._study.complete()
        found = self._study.run()
        seconds = found.seconds + self._journal.pop_seconds()
        now = time.perf_counter()
        overhead = min(1.0, seconds / (now - self._clock))
        self._clock = now
        return {**found.values, "seconds": seconds, "rows": float(found.rows), "overhead": overhead}

    def _publish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a run's values and write its row; without values, leave something to monitor."""
        row, self._row = self._row, None
        if row is None:
            return
        if row.values:
            values = {f"{self.name}/{key}": value for key, value in row.values.items()}
            sync = self._study.ranks.count > 1
            pl_module.log_dict(values, on_step=False, on_epoch=True, batch_size=1, sync_dist=sync)
        else:
            last = self.history.fitted[-1].values if self.history.fitted else {}
            trainer_facts.stand_in(trainer, {f"{self.name}/{key}": last.get(key) for key in self.config.keys})
        if row.values or row.note:
            self._guard(partial(self._journal.write, row))
        if (self._validations - 1) % self.pictures_every_n_validations == 0:
            self._guard(self._journal.draw)

    def _guard(self, action: Callable[[], None], *, always_warn: bool = False) -> None:
        """Do what may fail without harm: pictures, files, loggers, state of another version."""
        try:
            action()
        except Exception as error:
            if self.on_error == "raise" and not always_warn:
                raise
            self._warn(f"a result could not be written or read: {type(error).__name__}: {error}")

    def _warn(self, message: str) -> None:
        """Say a thing once."""
        if message not in self._warned:
            self._warned.add(message)
            rank_zero_warn(f"MultimodalMonitor: {message}", category=MonitorWarning)


def _at_least(least: int, name: str, value: int) -> int:
    if value < least:
        raise ConfigurationError(f"{name}={value}: give {least} or more.")
    return value
