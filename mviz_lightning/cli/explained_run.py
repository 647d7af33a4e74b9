"""Checkpoints that are explained one after the other, in one folder."""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mviz_lightning.callbacks import MultimodalMonitor
from mviz_lightning.callbacks.revisiting import go_back
from mviz_lightning.cli.checkpoints import Checkpoint, read_checkpoints
from mviz_lightning.cli.configuration import PASTED, Configuration
from mviz_lightning.cli.lightning_cli import Unwritten, built, is_of_arguments
from mviz_lightning.cli.spoken import say
from mviz_lightning.errors import ConfigurationError

MISFIT = "loading state_dict"
"""Part of PyTorch's message about weights that do not fit."""


@dataclass(frozen=True)
class ExplainedRun:
    """Model, data and trainer of a training, and its monitors.

    Attributes:
        cli: Holds model, data and trainer.
        monitors: The monitors among the trainer's callbacks.
        folder: Folder of the files.
        stage: ``"validate"`` or ``"test"``.
    """

    cli: Any
    monitors: Sequence[MultimodalMonitor]
    folder: Path
    stage: str

    @classmethod
    def of(cls, configuration: Configuration, folder: Path, given: argparse.Namespace) -> "ExplainedRun":
        """Build model, data and trainer from the configuration.

        Args:
            configuration: The content of the files.
            folder: Folder of the files.
            given: The arguments of the command.

        Raises:
            ConfigurationError: The configuration names no model or no monitor, or cannot be built.
        """
        cli: Any = built(configuration, folder, given)
        monitors = [one for one in cli.trainer.callbacks if isinstance(one, MultimodalMonitor)]
        if not monitors:
            raise ConfigurationError(
                f"--config {' '.join(configuration.files)} has no MultimodalMonitor among trainer.callbacks; write its "
                f"arguments into a file, mviz.yaml for example, and give it with --monitor mviz.yaml:\n{PASTED}"
            )
        return cls(cli, monitors, folder, given.stage)

    def explain(self, paths: Sequence[str]) -> list[Path]:
        """Measure and explain checkpoints in the order of their steps, and report the results.

        Args:
            paths: The files.

        Returns:
            The report page of each monitor that writes one.

        Raises:
            ConfigurationError: A file is not a checkpoint, does not fit the model, or gave no values.
        """
        checkpoints = read_checkpoints(self.cli.trainer, paths, same_data=self.stage == "validate")
        unlogged = isinstance(self.cli.trainer.logger, Unwritten)
        say(f"explain: nothing is trained{', and the loggers of the training get nothing' if unlogged else ''}")
        for checkpoint in checkpoints:
            self._explain(checkpoint)
        for monitor in self.monitors:
            monitor.finish_revisits()
        pages = [self.folder / monitor.name / "report.html" for monitor in self.monitors]
        found = [page.absolute() for page in pages if page.exists()]
        if not found:
            say(f"explain: the files are in {self.folder}")
        return found

    def _explain(self, checkpoint: Checkpoint) -> None:
        say(f"explain: {checkpoint.path}, {checkpoint.moment}{self._examples(checkpoint)}")
        go_back(self.cli.trainer, checkpoint.moment, checkpoint.fit_loop)
        for monitor in self.monitors:
            monitor.revisit(checkpoint.moment)
        with self._failures_told(checkpoint), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The dirpath has changed")  # no checkpoint is written
            run = self.cli.trainer.test if self.stage == "test" else self.cli.trainer.validate
            run(self.cli.model, datamodule=self.cli.datamodule, ckpt_path=checkpoint.path, verbose=False)
        for monitor in self.monitors:
            _require_values(monitor, checkpoint)

    def _examples(self, checkpoint: Checkpoint) -> str:
        """Return a note on the measured examples if they are not those of the training; ``""`` otherwise."""
        if self.stage == "test":
            return ", on examples of the test"
        missing = [monitor.name for monitor in self.monitors if not checkpoint.examples.get(monitor.state_key, False)]
        return f", which holds no examples of {', '.join(missing)}: they are drawn anew" if missing else ""

    @contextmanager
    def _failures_told(self, checkpoint: Checkpoint) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if MISFIT not in str(error):
                raise
            differs = checkpoint.misfit(self.cli.model.state_dict())
            raise ConfigurationError(
                f"--ckpt {checkpoint.path} does not fit the model of --config: {differs}. Give the configuration of "
                "its own training, or set what differs: --model.hidden 64 for example"
            ) from error
        except Exception as error:
            if not is_of_arguments(error):
                raise
            raise ConfigurationError(f"the trainer cannot {self.stage} the model: {error}{self._advice}") from error

    @property
    def _advice(self) -> str:
        if self.cli.datamodule is not None:
            return ""
        return "\nThe configuration has no section data; name what loads the batches: --data project.Data"


def _require_values(monitor: MultimodalMonitor, checkpoint: Checkpoint) -> None:
    """Check that the validation gave values.

    Raises:
        ConfigurationError: It gave none; the message has the reason.
    """
    moment = checkpoint.moment
    row = monitor.history[-1] if monitor.history else None
    if row is None or (row.epoch, row.step) != (moment.epoch, moment.step):
        raise ConfigurationError(
            f"--ckpt {checkpoint.path}: {monitor.name} saw no batch; are there validation data, and is "
            "trainer.limit_val_batches above 0?"
        )
    if not row.values:
        raise ConfigurationError(f"--ckpt {checkpoint.path}: {monitor.name} could measure nothing: {row.note}")
