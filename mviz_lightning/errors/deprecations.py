"""Old names of arguments, attributes and functions: they work, with a warning."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from pkgutil import resolve_name
from typing import Any, TypeVar

from mviz_lightning.errors import ConfigurationError

Class = TypeVar("Class", bound=type)
Target = TypeVar("Target", bound=Callable[..., Any])


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
    """Return whether an argument differs from its default, which LightningCLI and ``dataclasses.replace`` pass too."""
    return value is not default and (default is None or bool(value != default))


def _deprecate(old: str, new: str, above: int = 3) -> None:
    """Warn, with the place of the code that uses an old name: the ``stacklevel`` is ``above``."""
    warnings.warn(f"{old} is deprecated; use {new}.", DeprecationWarning, stacklevel=above)
