"""Checks of arguments, and how messages show a value."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from mviz_lightning.errors import ConfigurationError

LONGEST = 120
"""Largest number of characters of a value that a message shows."""


def in_short(value: Any) -> str:
    """Return a value as messages show it: the shape of an array, the beginning of a long text."""
    if getattr(value, "shape", ()):
        return f"<{type(value).__name__} {tuple(value.shape)}>"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def require_flag(name: str, value: Any, place: str = "{}") -> bool:
    """Return True or False, or raise a ConfigurationError; arguments as for :func:`at_least`."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{place.replace('{}', f'{name}={in_short(value)}')}: give True or False.")
    return value


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; False for booleans."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def at_least(least: int, name: str, value: int, place: str = "{}") -> int:
    """Return a whole number that is large enough.

    Args:
        least: The smallest allowed value.
        name: Name of the argument.
        value: The value received.
        place: Where the argument stands in the error, for example ``DIME({})``.

    Raises:
        ConfigurationError: The value is not a whole number, or too small.
    """
    if not is_whole(value) or value < least:
        given = place.replace("{}", f"{name}={in_short(value)}")
        whole = "" if is_whole(value) else "a whole number, "
        raise ConfigurationError(f"{given}: give {whole}{least} or more.")
    return int(value)


def require_seed(seed: int) -> int:
    """Return a seed that every generator of random numbers takes.

    Raises:
        ConfigurationError: The value is not a whole number (a text, for example), or has more than 62 bits.
    """
    if not is_whole(seed) or abs(seed) >= 2**62:
        limits = " between -2**62 and 2**62" if is_whole(seed) else ""
        raise ConfigurationError(f"seed={in_short(seed)}: give a whole number{limits}, for example seed=0.")
    return int(seed)


def not_negative(name: str, value: float, example: float) -> float:
    """Return a number that is 0 or more.

    Raises:
        ConfigurationError: The value is not a number (a text, for example), or is less than 0.
    """
    if not isinstance(value, Real) or not value >= 0:
        raise ConfigurationError(f"{name}={in_short(value)}: give a number, 0 or more, for example {name}={example}.")
    return value


def listed(name: str, given: Any) -> tuple[Any, ...]:
    """Return the entries of an argument that is a list.

    Raises:
        ConfigurationError: The value is not a list.
    """
    if isinstance(given, str):
        raise ConfigurationError(f"{name}={given!r}: give a list, {name}=[{given!r}].")
    if not is_iterable(given):
        raise ConfigurationError(f"{name}={in_short(given)}: give a list; [x] for a single x, [] for none.")
    return tuple(given)


def is_iterable(value: Any) -> bool:
    """Return whether a value has entries; False for a tensor with no axes, although its class has ``__iter__``."""
    try:
        iter(value)
    except TypeError:
        return False
    return True


def enumerated(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def plain_argument(value: Any) -> Any:
    """Return an argument from a Hydra configuration as lists and dicts; any other value as it is.

    Hydra's containers look and print like lists and dicts, but have types of their own that are of no use in a
    checkpoint.
    """
    if type(value).__module__.partition(".")[0] != "omegaconf":
        return value
    if isinstance(value, Mapping):
        return {key: plain_argument(one) for key, one in value.items()}
    return [plain_argument(one) for one in value] if is_iterable(value) else value


MAX_NAME = 100
"""Largest number of characters of a name. A key holds up to two names, and MLflow refuses keys of more than 250."""


def require_name(argument: str, name: str) -> str:
    """Return a name that can be part of a logged key.

    Raises:
        ConfigurationError: The name holds anything but letters of any language, digits and underscores, or is too long.
    """
    if not isinstance(name, str) or not (name and f"_{name}".isidentifier()):
        raise ConfigurationError(
            f"{argument}: the name {name!r} becomes part of logged keys; use letters, digits and underscores only."
        )
    if len(name) > MAX_NAME:
        raise ConfigurationError(
            f"{argument}: the name {name[:20]!r}... has {len(name)} letters; use up to {MAX_NAME}."
        )
    return name


def require_share(name: str, value: float | None) -> float | None:
    """Return a fraction of the training time, or None.

    Raises:
        ConfigurationError: The value is not strictly between 0 and 1.
    """
    if value is not None and not (isinstance(value, Real) and 0 < value < 1):
        raise ConfigurationError(
            f"{name}={value!r}: give a share of the time between 0 and 1, for example 0.05, or None."
        )
    return value
