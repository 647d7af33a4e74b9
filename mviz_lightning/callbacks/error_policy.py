"""What a failure costs: one warning and the result that failed, or the training where the user wants that."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Literal, TypeVar, cast

from mviz_lightning.callbacks.lightning_packages import rank_zero_only
from mviz_lightning.errors import LOG, ConfigurationError, MonitorWarning, NotMeasurableError, describe_error, warn_user

T = TypeVar("T")
Hook = TypeVar("Hook", bound=Callable[..., Any])


def is_misconfigured(error: Exception) -> bool:
    """Tell whether an error ends the training before it begins: an argument is wrong, or a line to paste mends it."""
    return isinstance(error, ConfigurationError) and not isinstance(error, NotMeasurableError)


SIDE_EFFECT = (
    "running the model changed {}, which the monitor cannot put back, so the training may end with other weights than "
    "without it. Keep such state in attributes of the model: these are put back."
)

CHOICES = " Or choose on_side_effect='disable' to switch the monitor off, or 'ignore' to go on without this warning."

UNWRITTEN = "a result could not be written or read"

TOLD = "_told_by_mviz"
"""Attribute of an error that was told."""

MOST_WARNINGS = 3
"""Largest number of warnings that begin alike: an error at every batch may have a number or an address in its text."""


@dataclass
class ErrorPolicy:
    """Turns errors into warnings, or raises them.

    Attributes:
        on_error: ``"warn"``: an error costs a warning. ``"raise"``: it ends the training.
        speaker: Name of the callback, in front of every warning.
        on_side_effect: What is done where the model changed what cannot be put back.

    Raises:
        ConfigurationError: ``on_error`` or ``on_side_effect`` has another value.
    """

    on_error: Literal["warn", "raise"] = "warn"
    speaker: str = "MultimodalMonitor"
    on_side_effect: Literal["warn", "disable", "ignore"] = "warn"
    _given: set[str] = field(default_factory=set)
    _fatal: Exception | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("warn", "raise"):
            raise ConfigurationError(f"on_error={self.on_error!r}: choose 'warn' or 'raise'.")
        if self.on_side_effect not in ("warn", "disable", "ignore"):
            raise ConfigurationError(f"on_side_effect={self.on_side_effect!r}: choose 'warn', 'disable' or 'ignore'.")

    def warn(self, message: str, category: type[Warning] = MonitorWarning) -> None:
        """Warn, on the first process; a message is given once."""
        if message not in self._given:
            self._given.add(message)
            rank_zero_only(warn_user)(f"{self.speaker}: {message}", category)

    def heed_side_effects(self, names: Sequence[str]) -> str:
        """Warn of what evaluations changed for good.

        Args:
            names: Names of what was changed; none if nothing was.

        Returns:
            Why the monitor is to be switched off; ``""`` where it goes on.
        """
        if not names or self.on_side_effect == "ignore":
            return ""
        off, fact = self.on_side_effect == "disable", SIDE_EFFECT.format(", ".join(names))
        self.warn(f"{'the monitor is off, since ' if off else ''}{fact}{'' if off else CHOICES}")
        return fact if off else ""

    def absorb(self, error: Exception, *, fatal: bool = False) -> str:
        """Return an error's type and message.

        Args:
            error: The error.
            fatal: Whether it ends the training whatever ``on_error`` says, as a wrong configuration does before the
                training. Every guard lets a fatal error through.

        Raises:
            Exception: The error itself, where it is fatal or ``on_error="raise"``.
        """
        if fatal:
            self._fatal = error
        if error is self._fatal or self.on_error == "raise":
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
        """Call what may fail without harm: pictures, files, loggers, state of another version, hooks.

        Where the error cannot be told, since memory is short for example, the log gets its type.

        Args:
            action: Function to call.
            otherwise: Returned where the function failed.
            always_warn: Whether an error costs a warning even with ``on_error="raise"``.
            failed: Text of the warning, in front of the error.
        """
        try:
            return action()
        except Exception as error:
            if not always_warn and (error is self._fatal or self.on_error == "raise"):
                raise
            try:
                self._tell(failed, error)
            except Exception:
                with suppress(Exception):
                    LOG.warning("%s: %s: %s, which cannot be told", self.speaker, failed, type(error).__name__)
            return otherwise

    def _tell(self, failed: str, error: Exception) -> None:
        """Warn of an error once, whatever guards it passes, unless enough warnings began alike."""
        if TOLD in vars(error):
            return
        vars(error)[TOLD] = True
        if sum(given.startswith(f"{failed}: ") for given in self._given) < MOST_WARNINGS:
            self.warn(f"{failed}: {describe_error(error)}")

    def unguarded(self, function: Callable[[], T]) -> T:
        """Call a function of the user's own, whose error ends the training, whatever guards it meets.

        Raises:
            Exception: What the function raises.
        """
        try:
            return function()
        except Exception as error:
            self._fatal = error
            raise


def guarded(hook: Hook) -> Hook:
    """Decorate a hook of a callback with an ``_error_policy``: an error in it costs a warning, not the training."""

    @wraps(hook)
    def safe(self: Any, *arguments: Any, **named: Any) -> Any:
        return self._error_policy.guard(partial(hook, self, *arguments, **named), failed=f"{hook.__name__} failed")

    return cast("Hook", safe)
