"""Say a thing once, and do what may fail without harm."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Literal, TypeVar, cast

from lightning.pytorch.utilities import rank_zero_warn

from mviz_lightning.errors import ConfigurationError, MonitorWarning, describe_error

T = TypeVar("T")
Hook = TypeVar("Hook", bound=Callable[..., Any])

UNWRITTEN = "a result could not be written or read"


@dataclass
class ErrorPolicy:
    """What a failure costs: a warning, or the training where the user asked for that.

    Attributes:
        on_error: ``"warn"`` or ``"raise"``.
        speaker: Who warns.
    """

    on_error: Literal["warn", "raise"] = "warn"
    speaker: str = "MultimodalMonitor"
    _said: set[str] = field(default_factory=set)
    _meant: Exception | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("warn", "raise"):
            raise ConfigurationError(f"on_error={self.on_error!r}: choose 'warn' or 'raise'.")

    def warn(self, message: str) -> None:
        """Say a thing once."""
        if message not in self._said:
            self._said.add(message)
            rank_zero_warn(f"{self.speaker}: {message}", category=MonitorWarning)

    def absorb(self, error: Exception, *, fatal: bool = False) -> str:
        """Return an error in words.

        Args:
            error: What failed.
            fatal: Whether it shall end the training whatever ``on_error`` says, as a wrong configuration does before
                the training; every guard lets it through.

        Raises:
            Exception: The error, where it is fatal or the user wants to see it.
        """
        if fatal:
            self._meant = error
        if error is self._meant or self.on_error == "raise":
            raise error
        return describe_error(error)

    def guard(
        self,
        action: Callable[[], T],
        otherwise: T | None = None,
        *,
        always_warn: bool = False,
        failed: str = UNWRITTEN,
    ) -> T | None:
        """Do what may fail without harm: pictures, files, loggers, state of another version, hooks.

        Args:
            action: Does it.
            otherwise: What is returned where it failed.
            always_warn: Whether even ``on_error="raise"`` costs a warning only.
            failed: What to say in front of the error.
        """
        try:
            return action()
        except Exception as error:
            reason = describe_error(error) if always_warn else self.absorb(error)
            self.warn(f"{failed}: {reason}")
            return otherwise


def guarded(hook: Hook) -> Hook:
    """Make a hook of a callback that has a ``_warner`` cost the training nothing when it fails."""

    @wraps(hook)
    def safe(self: Any, *arguments: Any, **named: Any) -> Any:
        return self._error_policy.guard(partial(hook, self, *arguments, **named), failed=f"{hook.__name__} failed")

    return cast("Hook", safe)
