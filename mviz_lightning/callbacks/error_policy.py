"""The effect of an error: a warning and a missing result, or, with ``on_error="raise"``, the end of the training."""

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
    """Return whether an error ends the training before it begins, because the user can fix its cause in the code."""
    return isinstance(error, ConfigurationError) and not isinstance(error, NotMeasurableError)


SIDE_EFFECT = (
    "running the model changed {}, which the monitor cannot restore, so the training may end with other weights than "
    "without it. Keep such state in attributes of the model: these are restored."
)

CHOICES = " Or choose on_side_effect='disable' to switch the monitor off, or 'ignore' to go on without this warning."

UNWRITTEN = "a result could not be written or read"

TOLD = "_told_by_mviz"
"""Attribute that marks an error whose warning was given."""

MOST_WARNINGS = 3
"""Largest number of warnings with the same beginning. An error at every batch may contain a number or an address, so
its texts may all differ."""


@dataclass
class ErrorPolicy:
    """Turns errors into warnings, or raises them.

    Attributes:
        on_error: ``"warn"``: an error becomes a warning. ``"raise"``: it ends the training.
        speaker: Name of the callback, at the beginning of every warning.
        on_side_effect: Effect of a change by the model that cannot be undone: ``"warn"``, ``"disable"`` the monitor, or
            ``"ignore"``.

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
        """Warn on the first process; equal messages are given once."""
        if message not in self._given:
            self._given.add(message)
            rank_zero_only(warn_user)(f"{self.speaker}: {message}", category)

    def heed_side_effects(self, names: Sequence[str]) -> str:
        """Warn of changes by evaluations that cannot be undone.

        Args:
            names: Names of the changed objects; may be empty.

        Returns:
            The reason to switch the monitor off; ``""`` if it stays on.
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
            fatal: Whether it ends the training for any ``on_error``, like a wrong configuration before the training.
                Every guard raises a fatal error again.

        Raises:
            Exception: The error itself, if it is fatal or ``on_error="raise"``.
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
        """Call a function whose failure need not end the training: pictures, files, loggers, hooks.

        If the warning itself fails, for example for lack of memory, the log gets the type of the error.

        Args:
            action: Function to call.
            otherwise: Returned if the function failed.
            always_warn: Whether an error becomes a warning even with ``on_error="raise"``.
            failed: Beginning of the warning, before the error.
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
                    LOG.warning("%s: %s: %s, whose warning cannot be shown", self.speaker, failed, type(error).__name__)
            return otherwise

    def _tell(self, failed: str, error: Exception) -> None:
        """Warn of an error once, also if it passes several guards, up to ``MOST_WARNINGS`` with the same beginning."""
        if TOLD in vars(error):
            return
        vars(error)[TOLD] = True
        if sum(given.startswith(f"{failed}: ") for given in self._given) < MOST_WARNINGS:
            self.warn(f"{failed}: {describe_error(error)}")

    def unguarded(self, function: Callable[[], T]) -> T:
        """Call a user's function; an error in it ends the training, through all guards.

        Raises:
            Exception: What the function raises.
        """
        try:
            return function()
        except Exception as error:
            self._fatal = error
            raise


def guarded(hook: Hook) -> Hook:
    """Decorate a hook of a callback: its ``_error_policy`` turns errors of the hook into warnings, or raises them."""

    @wraps(hook)
    def safe(self: Any, *arguments: Any, **named: Any) -> Any:
        return self._error_policy.guard(partial(hook, self, *arguments, **named), failed=f"{hook.__name__} failed")

    return cast("Hook", safe)
