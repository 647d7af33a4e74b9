"""A logger of Lightning that writes to Trackio."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment  # type: ignore[attr-defined]
    from lightning.pytorch.utilities import rank_zero_only
except ModuleNotFoundError:  # both Trainers accept the loggers of both packages
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment  # type: ignore[assignment,attr-defined]
    from pytorch_lightning.utilities import rank_zero_only


class TrackioLogger(Logger):
    """Writes the scalars and hyperparameters of a training to a run of Trackio.

    If ``trackio.init`` was called before, the logger continues that run and does not end it. Otherwise the logger calls
    ``trackio.init`` with the arguments, and the run ends with the training.

    Args:
        project: Name of the project; Trackio's own for a run that goes on.
        **settings: Further arguments of ``trackio.init``, such as ``name`` or ``space_id``.

    Raises:
        ModuleNotFoundError: Trackio is not installed.

    Example:
        >>> from mviz_lightning.loggers import TrackioLogger
        >>> logger = TrackioLogger("emojis", name="first")  # doctest: +SKIP
    """

    def __init__(self, project: str = "lightning_logs", **settings: Any) -> None:
        super().__init__()
        try:
            import trackio  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("TrackioLogger needs Trackio: pip install trackio") from error
        self._settings = {"project": project, **settings}
        self._run: Any = None
        self._own = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of Trackio."""
        import trackio
        from trackio import context_vars

        if self._run is None:
            found = context_vars.current_run.get()
            self._own = found is None
            self._run = trackio.init(**self._settings) if found is None else found
        return self._run

    @property
    def name(self) -> str:
        """Name of the project."""
        return str(getattr(self.experiment, "project", None) or self._settings["project"])

    @property
    def version(self) -> str | None:
        """Name of the run."""
        name = getattr(self.experiment, "name", None)
        return name if isinstance(name, str) else None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars at a step."""
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Add hyperparameters to the configuration of the run."""
        given = vars(params) if isinstance(params, Namespace) else params
        self.experiment.config.update(given)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, if the logger began it; a later training begins another one."""
        if self._run is not None and self._own:
            import trackio

            trackio.finish()
            self._run = None
