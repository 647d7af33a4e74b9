"""What the package raises and warns with: errors, checks of arguments, and deprecations. Knows: nothing."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pkgutil import resolve_name
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)
Target = TypeVar("Target", bound=Callable[..., Any])


class ConfigurationError(ValueError):
    """An argument does not fit the model or the data.

    The message names the argument, the value received, what is allowed and one next step.
    """


class NotMeasurableError(ConfigurationError):
    """The model, its step or its data cannot be measured, and no line to paste would change that.

    It costs the monitor, and the training goes on; with ``on_error="raise"`` it ends the training. The message names
    what would be needed.
    """


class MonitorWarning(UserWarning):
    """A result is missing or needs attention; the training itself is not affected."""


class CollapseWarning(MonitorWarning):
    """The model does not use a modality that carries information about the label."""


def describe_error(error: BaseException) -> str:
    """Return the type and the message of an error, the only way in which the package turns an error into text."""
    return f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """Return the message of an error as plain text that every encoding and every process accepts.

    A user's error may fail to print. It would fail again wherever it is reported: before a collective call that the
    other processes wait in, or in the handler that saves the training.
    """
    try:
        # A plain str: what __str__ returns may be a subclass with methods of its own.
        return str.encode(str(error), "utf-8", "backslashreplace").decode()
    except Exception as failure:
        return f"(its message cannot be printed: __str__ raises {type(failure).__name__})"


LONGEST = 120
"""Largest number of characters of a value that a message shows."""


def in_short(value: Any) -> str:
    """Return a value as messages show it: an array by its shape, and no more than the beginning of a long one."""
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
    """Tell whether a value is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def at_least(least: int, name: str, value: int, place: str = "{}") -> int:
    """Return a whole number that is large enough.

    Args:
        least: The smallest allowed value.
        name: Name of the argument.
        value: The value received.
        place: Where the argument stands in the error, for example ``DIME({})``.

    Raises:
        ConfigurationError: The value is no whole number, or too small.
    """
    if not is_whole(value) or value < least:
        given = place.replace("{}", f"{name}={in_short(value)}")
        whole = "" if is_whole(value) else "a whole number, "
        raise ConfigurationError(f"{given}: give {whole}{least} or more.")
    return int(value)


def require_seed(seed: int) -> int:
    """Return a seed that every generator of random numbers takes.

    Raises:
        ConfigurationError: The value is no whole number, a text for example, or has more than 62 bits.
    """
    if not is_whole(seed) or abs(seed) >= 2**62:
        limits = " between -2**62 and 2**62" if is_whole(seed) else ""
        raise ConfigurationError(f"seed={in_short(seed)}: give a whole number{limits}, for example seed=0.")
    return int(seed)


def not_negative(name: str, value: float, example: float) -> float:
    """Return a number that is 0 or more.

    Raises:
        ConfigurationError: The value is no number, a text for example, or less than 0.
    """
    if not isinstance(value, Real) or not value >= 0:
        raise ConfigurationError(f"{name}={in_short(value)}: give a number, 0 or more, for example {name}={example}.")
    return value


def listed(name: str, given: Any) -> tuple[Any, ...]:
    """Return the entries of an argument that is a list.

    Raises:
        ConfigurationError: The value is no list.
    """
    if isinstance(given, str):
        raise ConfigurationError(f"{name}={given!r}: give a list, {name}=[{given!r}].")
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"{name}={in_short(given)}: give a list; [x] for a single x, [] for none.")
    return tuple(given)


def enumerated(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def plain_argument(value: Any) -> Any:
    """Return an argument from a Hydra configuration as lists and dicts; any other value as it is.

    Configurations are read and printed as lists and dicts are, but are none: they are of no use in a checkpoint.
    """
    if type(value).__module__.partition(".")[0] != "omegaconf":
        return value
    if isinstance(value, Mapping):
        return {key: plain_argument(one) for key, one in value.items()}
    return [plain_argument(one) for one in value] if isinstance(value, Iterable) else value


def require_name(argument: str, name: str) -> str:
    """Return a name that can be part of a logged key.

    Raises:
        ConfigurationError: The name holds anything but letters, digits and underscores.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigurationError(
            f"{argument}: the name {name!r} becomes part of logged keys; use letters, digits and underscores only."
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


def moved_names(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that finds names that have moved, with a warning.

    Args:
        module: The ``__name__`` of the module that had the names.
        places: Old name -> full dotted path of what replaces it.

    Returns:
        A function from an old name to the object. It raises an AttributeError for names that are not in the table.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _deprecate(f"{module}.{name}", places[name])
        return resolve_name(places[name])

    return find


def renamed_attributes(**names: str) -> Callable[[Class], Class]:
    """Make old names of attributes readable, with a warning. A class decorator.

    Args:
        names: Old name -> new name.
    """

    def decorate(cls: Class) -> Class:
        for old, new in names.items():
            setattr(cls, old, _renamed_attribute(old, new))
        return cls

    return decorate


def renamed_arguments(**names: str) -> Callable[[Target], Target]:
    """Accept old names of keyword arguments, with a warning. A decorator of functions and classes.

    On a class it also makes the old names of the attributes readable. It stands above ``@dataclass``. The signature
    lists the old names too, with None for "not given", so that LightningCLI accepts them in YAML. A subclass with an
    ``__init__`` of its own needs the decorator again, for example one that is a dataclass itself. Old and new name
    together are a :class:`ConfigurationError`.

    Args:
        names: Old name -> new name.
    """

    def decorate(target: Any) -> Any:
        return _renamed_fields(target, names) if isinstance(target, type) else _accepting_old_names(target, names)

    return decorate


def _renamed_fields(cls: Any, names: Mapping[str, str]) -> Any:
    cls.__init__ = _accepting_old_names(cls.__init__, names)
    return renamed_attributes(**names)(cls)


def _accepting_old_names(call: Callable[..., Any], names: Mapping[str, str]) -> Callable[..., Any]:
    @wraps(call)
    def translated(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **_with_new_names(call, names, args, kwargs))

    vars(translated).update(__signature__=_with_old_names(inspect.signature(call), names))
    return translated


def _renamed_attribute(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        owner = type(self).__name__
        _deprecate(f"{owner}.{old}", f"{owner}.{new}")
        return getattr(self, new)

    return property(read, doc=f"Deprecated: use ``{new}``.")


def _with_old_names(signature: inspect.Signature, names: Mapping[str, str]) -> inspect.Signature:
    """Return a signature with the old names as keywords, None by default."""
    parameters = signature.parameters
    old = [
        inspect.Parameter(old, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=parameters[new].annotation)
        for old, new in names.items()
    ]
    return signature.replace(parameters=[*parameters.values(), *old])


def _with_new_names(
    call: Callable[..., Any], names: Mapping[str, str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return keyword arguments under their new names.

    Raises:
        ConfigurationError: An old and its new name are both given, the new one with another value than its default.
    """
    kept = {name: value for name, value in kwargs.items() if name not in names}
    old = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
    owner = type(args[0]).__name__ if call.__name__ == "__init__" else call.__name__
    signature = inspect.signature(call)
    given = signature.bind_partial(*args, **kept).arguments if old else {}
    for name, value in old.items():
        new = names[name]
        if new in given and _differs(given[new], signature.parameters[new].default):
            raise ConfigurationError(
                f"{owner}({name}={value!r}, {new}={given[new]!r}): {name} is the old name of {new}; give {new} only."
            )
        _deprecate(f"{owner}({name}=...)", f"{owner}({new}=...)", above=4)
        kept[new] = value
    return kept


def _differs(value: Any, default: Any) -> bool:
    """Tell whether an argument has a value of its own: LightningCLI and ``dataclasses.replace`` pass defaults too."""
    return value is not default and (default is None or bool(value != default))


def _deprecate(old: str, new: str, above: int = 3) -> None:
    """Warn in the name of the code that uses an old name, ``above`` frames up."""
    warnings.warn(f"{old} is deprecated; use {new}.", DeprecationWarning, stacklevel=above)
