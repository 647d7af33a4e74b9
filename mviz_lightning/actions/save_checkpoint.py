"""Save a checkpoint at an alarm."""

from pathlib import Path

from mviz_lightning.actions.base import Action, Alarms
from mviz_lightning.errors import ConfigurationError


class SaveCheckpoint(Action):
    """Saves a checkpoint when a modality collapses: ``collapse-image-epoch=3-step=240.ckpt``.

    It is saved once per alarm, after the validation, like those of ModelCheckpoint. A training that resumes from it
    continues with the alarm and its actions. No checkpoint is deleted, and there is nothing to undo.

    Args:
        path: Folder of the checkpoints. By default ``checkpoints`` in the folder of the first logger's run, or in the
            trainer's root folder without a logger.

    Raises:
        ConfigurationError: ``path`` is not a path.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import SaveCheckpoint
        >>> alarm = UnimodalCollapse(action=SaveCheckpoint("runs/alarms"))
    """

    def __init__(self, path: str | None = None) -> None:
        if path is not None and not isinstance(path, str | Path):
            raise ConfigurationError(
                f"SaveCheckpoint(path={path!r}): give a folder, for example 'runs/alarms', or None."
            )
        self.path = path

    def announce(self, alarms: Alarms) -> str:
        """Return the folder, in words."""
        where = "" if self.path is None else f" in {self.path}"
        return f"A checkpoint is saved{where}."

    def after_check(self, alarms: Alarms) -> None:
        """Save one checkpoint for all modalities whose alarm begins; every process participates."""
        if alarms.began:
            trainer = alarms.trainer
            name = f"collapse-{'-'.join(alarms.began)}-epoch={trainer.current_epoch}-step={trainer.global_step}.ckpt"
            trainer.save_checkpoint(self._folder(trainer) / name)

    def _folder(self, trainer: object) -> Path:
        if self.path is not None:
            return Path(self.path)
        logged = getattr(trainer, "log_dir", None) if getattr(trainer, "loggers", None) else None
        return Path(logged or trainer.default_root_dir) / "checkpoints"  # type: ignore[attr-defined]
