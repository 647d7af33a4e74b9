"""Types of batch objects: how an object is split into its parts or its examples, and rebuilt."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from mviz_lightning.errors import ConfigurationError, describe_error

BatchType: TypeAlias = type | str | Callable[[Any], bool]
"""A class, the dotted name of a class, or a function that returns whether a value is of the type."""


@dataclass(frozen=True)
class ClassTest:
    """A function value -> bool that depends only on the value's class, so that each class is tested once.

    Attributes:
        test: A function class -> bool: whether its values are of the type.
    """

    test: Callable[[type], bool]

    def __call__(self, value: Any) -> bool:
        """Return whether a value is of the type."""
        return self.test(type(value))


@dataclass(frozen=True)
class Registration:
    """The arguments of one call of :func:`register`.

    Attributes:
        meant: The class, its dotted name, or a function value -> bool.
        splitter: A function from a value to its named parts, or to its examples.
        join: A function from a value and other parts, or other examples, to a new value.
        examples: Whether values are split into examples; False: into named parts.
    """

    meant: BatchType
    splitter: Callable[[Any], Any]
    join: Callable[[Any, Any], Any]
    examples: bool

    def split(self, value: Any) -> Any:
        """Return the named parts of a value as a mapping, or its examples as a list.

        Raises:
            ConfigurationError: The registered function returns something else.
        """
        parts = self.splitter(value)
        if not isinstance(parts, Sequence if self.examples else Mapping):
            wanted = "the list of its examples" if self.examples else "a dict from names to parts"
            raise ConfigurationError(
                f"batch.register(type={self.meant!r}): split returns a {type(parts).__name__}; return {wanted}."
            )
        return parts

    def decide(self, cls: type) -> bool | None:
        """Return whether values of a class are of the type; None if that depends on the value."""
        if isinstance(self.meant, str):
            return any(_is_called(self.meant, base) for base in cls.__mro__)
        if isinstance(self.meant, type):
            return issubclass(cls, self.meant)
        return self.meant.test(cls) if isinstance(self.meant, ClassTest) else None

    def accepts(self, value: Any) -> bool:
        """Return whether a value of a possible class is of the type.

        Raises:
            ConfigurationError: The user's function fails.
        """
        if isinstance(self.meant, type | str | ClassTest):
            return True
        try:
            return bool(self.meant(value))
        except Exception as error:
            raise ConfigurationError(
                f"batch.register(type={self.meant!r}): for a {type(value).__name__} it raises {describe_error(error)}. "
                "It is called with every node of a batch; give a function that returns True or False for any value."
            ) from error


_registrations: list[Registration] = []
"""All registrations, the newest first."""


def register(
    type: BatchType,  # noqa: A002 - the word that users look for
    split: Callable[[Any], Any],
    join: Callable[[Any, Any], Any],
    *,
    examples: bool = False,
) -> None:
    """Register a type of batch object, so that the monitor can read it.

    An object can be read in two ways, each with its own registration:

    - **named parts**: the parts are tensors, lists or further containers, with paths such as ``"points.xyz"``. Use this
      for objects whose parts have one entry per example.
    - **examples** (``examples=True``): the object has several examples in its own format, for example a batch of graphs
      or of point clouds, and can be split into single examples.

    If several registrations fit an object, the newest is used. Registering a type again replaces the older
    registration.

    Args:
        type: The class of the objects; its dotted name, ``"package.module.Class"``, for which nothing is imported; or a
            function that returns for any value whether it is of the type. Subclasses are included. A function is called
            for every node of every batch, so it must be fast.
        split: A function of an object. It returns a dict from names to parts, or with ``examples=True`` the list of its
            examples. It must not change the object.
        join: A function of an object and new parts: a dict with the names of ``split``, or with ``examples=True`` a
            list of any number of examples. It returns a new object with these parts and otherwise equal to the old one,
            which it must not change.
        examples: Whether the object is split into examples.

    Raises:
        ConfigurationError: ``type`` is neither a class, a dotted name nor a function; ``split`` or ``join`` cannot be
            called.

    Example:
        >>> import torch
        >>> from mviz_lightning.batch import BatchSchema, parse_modalities, register
        >>> class Points:
        ...     def __init__(self, xyz, colour):
        ...         self._xyz, self._colour = xyz, colour
        >>> def split(points):
        ...     return {"xyz": points._xyz, "colour": points._colour}
        >>> def join(points, parts):
        ...     return Points(parts["xyz"], parts["colour"])
        >>> register(Points, split, join)
        >>> batch = {"points": Points(torch.rand(8, 100, 3), torch.rand(8, 100, 3)), "label": torch.zeros(8)}
        >>> modalities = parse_modalities({"shape": "points.xyz", "colour": "points.colour"})
        >>> schema = BatchSchema.learn(batch, modalities, target="label")
        >>> leaves = schema.leaves(batch)
        >>> {path: tuple(leaf.shape) for path, leaf in leaves.items()}
        {'points.xyz': (8, 100, 3), 'points.colour': (8, 100, 3), 'label': (8,)}
        >>> type(schema.build(leaves)["points"]).__name__
        'Points'
    """
    _require_type(type)
    for name, function in {"split": split, "join": join}.items():
        if not callable(function):
            raise ConfigurationError(f"batch.register({name}={function!r}): give a function, {_SIGNATURES[name]}.")
    made = Registration(type, split, join, examples)
    kept = [one for one in _registrations if (one.meant, one.examples) != (type, examples)]
    _registrations[:] = [made, *kept]
    _candidates.cache_clear()


_SIGNATURES = {"split": "def split(value): ...", "join": "def join(value, parts): ..."}


def container_of(node: Any) -> Registration | None:
    """Return how a node is split into named parts; None if its type is not registered."""
    return _find(node, examples=False)


def examples_of(node: Any) -> Registration | None:
    """Return how a node is split into examples; None if its type is not registered."""
    return _find(node, examples=True)


def _find(node: Any, *, examples: bool) -> Registration | None:
    for registration in _candidates(type(node), examples):  # type: ignore[arg-type]
        if registration.accepts(node):
            return registration
    return None


@lru_cache(maxsize=4096)
def _candidates(cls: type, examples: bool) -> tuple[Registration, ...]:  # noqa: FBT001 - an lru_cache's own key
    """Return the registrations that may fit values of a class: all that depend on the value, then one that fits.

    It is called at every node of every batch; for tensors, dicts and lists the cached result is empty.
    """
    found: list[Registration] = []
    for registration in _registrations:
        decided = registration.decide(cls) if registration.examples == examples else False
        if decided is not False:
            found.append(registration)
        if decided:
            break
    return tuple(found)


def _require_type(given: Any) -> None:
    dotted = isinstance(given, str) and "." in given and all(part.isidentifier() for part in given.split("."))
    if not (dotted or isinstance(given, type) or (callable(given) and not isinstance(given, str))):
        raise ConfigurationError(
            f"batch.register(type={given!r}): give a class, a dotted name such as 'package.module.Class', or a "
            "function from a value to True or False; register each of several types by itself."
        )


def _is_called(name: str, cls: type) -> bool:
    """Return whether a class has this dotted name, where it is defined or in a loaded package that exports it."""
    if name == f"{cls.__module__}.{cls.__qualname__}":
        return True
    module, _, attribute = name.rpartition(".")
    return vars(sys.modules.get(module, object)).get(attribute) is cls
