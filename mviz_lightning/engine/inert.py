"""Replacements for loggers, files and iterators while a step may change nothing."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache
from io import IOBase
from itertools import count
from pathlib import PurePath
from types import NoneType
from typing import Any
from weakref import ProxyTypes

from mviz_lightning.engine.reach import class_of, is_logger, is_own

PLAIN = (str, bytes, int, float, NoneType, PurePath)
"""Types of attributes that are passed on as they are: the folder of a run, its name and version."""

UNKNOWN = object()
"""Marks an inert object that has no original, for example the result of a muted call."""


class Inert:
    """Replaces a logger, or a part of one: ``isinstance`` finds the class of the original, and calls do nothing.

    Plain attributes (``log_dir``, ``version``) are those of the original; an attribute that the original lacks is
    missing here too. Other attributes, and results of calls and of indexing, are inert objects again. Assignments have
    no effect.
    """

    def __init__(self, original: Any = UNKNOWN) -> None:
        object.__setattr__(self, "_original", original)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the original, for ``assert isinstance(self.logger, TensorBoardLogger)``."""
        original = object.__getattribute__(self, "_original")
        return Inert if original is UNKNOWN else type(original)

    def __getattr__(self, name: str) -> Any:
        original = object.__getattribute__(self, "_original")
        if original is UNKNOWN:
            if name.startswith("__"):
                raise AttributeError(name)
            return Inert()
        value = getattr(original, name)
        return value if isinstance(value, PLAIN) else Inert(value)

    def __call__(self, *_: Any, **__: Any) -> "Inert":
        """Do nothing."""
        return Inert()

    def __getitem__(self, _: Any) -> "Inert":
        return Inert()

    def __enter__(self) -> "Inert":  # noqa: PYI034 - the type that the original returns here is unknown
        return Inert()

    def __exit__(self, *_: object) -> None:
        """Let errors pass."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __contains__(self, _: object) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True

    def __setattr__(self, name: str, value: Any) -> None:
        """Change nothing."""

    def __delattr__(self, name: str) -> None:
        """Change nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Change nothing."""

    def __delitem__(self, key: Any) -> None:
        """Change nothing."""


class IrreversibleStep(Exception):  # noqa: N818 - it describes the step
    """The step changes something that cannot be put back."""


class UntouchedIterator:
    """Replaces an iterator whose position cannot be restored, a generator for example: every read raises an error."""

    def __init__(self, original: Any) -> None:
        self._kind = type(original).__name__

    def __iter__(self) -> "UntouchedIterator":
        return self

    def __next__(self) -> Any:
        """Refuse.

        Raises:
            IrreversibleStep: Always.
        """
        raise IrreversibleStep(f"the step takes an entry from a {self._kind}, which cannot be put back.")


TRACKERS = ("wandb", "mlflow", "neptune", "comet_ml", "clearml", "aim")
"""Packages that record through functions of their own, such as ``wandb.log``, and through an open run."""


@contextmanager
def inert_packages() -> Iterator[None]:
    """Inside the block, make functions of trackers that start with "log", and the open run of W&B, do nothing."""
    packages = [vars(sys.modules[name]) for name in TRACKERS if name in sys.modules]
    kept = [{name: value for name, value in package.items() if _records(name, value)} for package in packages]
    try:
        for package, functions in zip(packages, kept, strict=True):
            package.update({name: Inert(value) for name, value in functions.items()})
        yield
    finally:
        for package, functions in zip(packages, kept, strict=True):
            package.update(functions)


def _records(name: str, value: Any) -> bool:
    """Return whether a global of a tracker records."""
    return (name.startswith("log") and callable(value)) or (name == "run" and value is not None)


COPYABLE = tuple(map(type, (iter([]), iter(()), iter(range(0)), count())))
"""Types of iterators whose copies are independent of the original."""


def inert_in_place(value: Any) -> Any:
    """Return what replaces a value while nothing may change it; the value itself if it may stay.

    Loggers and files that are open for writing become inert. An iterator is replaced by a copy; if a copy would not be
    independent, by an object that raises when it is read.
    """
    if _stays(class_of(value)):
        return value
    if isinstance(value, IOBase):
        return Inert(value) if not value.closed and value.writable() else value
    if isinstance(value, COPYABLE):
        with suppress(TypeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 and 3.13 warn that copies of a count will not be supported
            return copy(value)
    if is_logger(class_of(value)):
        return Inert(value)
    return value if is_own(value) else UntouchedIterator(value)


@cache
def _stays(kind: Any) -> bool:
    """Return whether objects of a class neither record nor iterate."""
    if issubclass(kind, (UntouchedIterator, *ProxyTypes)):  # proxies have the methods of iterators
        return True
    return not (is_logger(kind) or issubclass(kind, Iterator))
