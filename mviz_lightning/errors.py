"""What the package raises and warns with, and the checks of arguments that raise it. Knows: nothing."""

import re
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


class ConfigurationError(ValueError):
    """The monitor was asked for something that this model or this data cannot give.

    The message names the argument, what was found, what is allowed and what to do next.
    """


class MonitorWarning(UserWarning):
    """Something cost a result or needs the user's eye; the training itself is untouched."""


class CollapseWarning(MonitorWarning):
    """The model does not use a modality that carries information."""


def describe_error(error: BaseException) -> str:
    """Return an error's type and message: the only way in which the package turns an error into text."""
    return f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """Return an error's message as plain text that every encoding and every process takes.

    A user's error may fail to print, and would fail again wherever it is reported: in front of a collective call that
    the other processes wait in, or in the handler that was to save the training.
    """
    try:
        # Of the plain type: what __str__ returns may be a subclass with methods of its own.
        return str.encode(str(error), "utf-8", "backslashreplace").decode()
    except Exception as failure:
        return f"(its message cannot be printed: __str__ raises {type(failure).__name__})"


def at_least(least: int, name: str, value: int, place: str = "{}") -> int:
    """Return a number that is whole and large enough.

    Args:
        least: It may be.
        name: Of the argument.
        value: That was given.
        place: Where the argument stands, ``DIME({})`` for one, in the error.

    Raises:
        ConfigurationError: It is not.
    """
    if not isinstance(value, Integral) or value < least:
        given = place.replace("{}", f"{name}={value!r}")
        whole = "" if isinstance(value, Integral) else "a whole number, "
        raise ConfigurationError(f"{given}: give {whole}{least} or more.")
    return value


def listed(name: str, given: Any) -> tuple[Any, ...]:
    """Return what an argument lists.

    Raises:
        ConfigurationError: It is no list.
    """
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ConfigurationError(f"{name}={given!r}: give a list, of one where there is but one, [] for none.")
    return tuple(given)


def require_name(argument: str, name: str) -> str:
    """Return a name that can be part of a logged key.

    Raises:
        ConfigurationError: It holds anything but letters, digits and underscores.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigurationError(
            f"{argument}: the name {name!r} becomes part of logged keys; use letters, digits and underscores only."
        )
    return name


def require_share(name: str, value: float | None) -> float | None:
    """Return a share of the time that can be kept.

    Raises:
        ConfigurationError: It is none.
    """
    if value is not None and not (isinstance(value, Real) and 0 < value < 1):
        raise ConfigurationError(f"{name}={value!r}: give a share of the time between 0 and 1, .05 for one, or None.")
    return value
