"""What the package raises and warns with: errors, warnings, checks of arguments, deprecations. Knows: nothing."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeAlias

LOG = logging.getLogger("mviz_lightning")
"""Logger of the package. Callbacks write lines that are not warnings to Lightning's logger."""

Guard: TypeAlias = Callable[..., Any]
"""Calls a function that may fail. Returns its result; if it failed, returns the second argument."""


class ConfigurationError(ValueError):
    """An argument does not fit the model or the data.

    The message names the argument, the value received, what is allowed and one next step.
    """


class NotMeasurableError(ConfigurationError):
    """The model, its step or its data cannot be measured, and no line to paste would change that.

    It ends the monitor, and the training continues; with ``on_error="raise"`` it ends the training too. The message
    names what would be needed.
    """


class MonitorWarning(UserWarning):
    """A result is missing or needs attention; the training itself is not affected."""


class CollapseWarning(MonitorWarning):
    """The model does not use a modality that carries information about the label."""


PACKAGE = Path(__file__).parents[1]
"""Folder of the package."""


def raised_here(error: BaseException) -> bool:
    """Return whether this package raised an error: its last Python line is not in the user's code or a library."""
    files = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return bool(files) and Path(files[-1]).is_relative_to(PACKAGE)


def warn_user(message: str, category: type[Warning] = MonitorWarning) -> None:
    """Warn. If warnings are errors or cannot be shown, log the message instead, so that the caller never fails."""
    try:
        warnings.warn(message, category, stacklevel=3)
    except Exception:
        LOG.warning(message)


def describe_error(error: BaseException) -> str:
    """Return the type and the message of an error; the package uses no other text of an error."""
    return f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """Return the message of an error as plain text that every encoding and every process accepts.

    A user's error may fail to print. It would fail again wherever it is reported: before a collective in which the
    other processes wait, or in the handler that saves the training.
    """
    try:
        # A plain str: what __str__ returns may be a subclass with methods of its own.
        return str.encode(str(error), "utf-8", "backslashreplace").decode()
    except Exception as failure:
        return f"(its message cannot be printed: __str__ raises {type(failure).__name__})"
