"""Say a thing once, and do what may fail without harm."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from lightning.pytorch.utilities import rank_zero_warn

from mviz_lightning.errors import ConfigurationError, MonitorWarning

T = TypeVar("T")


@dataclass
class Warner:
    """What a failure costs: a warning, or the training where the user asked for that.

    Attributes:
        on_error: ``"warn"`` or ``"raise"``.
    """

    on_error: Literal["warn", "raise"] = "warn"
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.on_error not in ("warn", "raise"):
            raise ConfigurationError(f"on_error={self.on_error!r}: choose 'warn' or 'raise'.")

    def forget(self) -> None:
        """Begin anew: what was said before may be said again."""
        self._said.clear()

    def warn(self, message: str) -> None:
        """Say a thing once."""
        if message not in self._said:
            self._said.add(message)
            rank_zero_warn(f"MultimodalMonitor: {message}", category=MonitorWarning)

    def guard(self, action: Callable[[], T], otherwise: T | None = None, *, always_warn: bool = False) -> T | None:
        """Do what may fail without harm: pictures, files, loggers, state of another version.

        Returns:
            What the action returns; ``otherwise`` where it failed.
        """
        try:
            return action()
        except Exception as error:
            if self.on_error == "raise" and not always_warn:
                raise
            self.warn(f"a result could not be written or read: {type(error).__name__}: {error}")
            return otherwise
