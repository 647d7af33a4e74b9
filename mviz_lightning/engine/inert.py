"""Loggers that can be read and do nothing."""

from collections.abc import Iterator
from pathlib import PurePath
from types import NoneType
from typing import Any

PLAIN = (str, bytes, int, float, NoneType, PurePath)
"""Types of attributes that are passed on as they are: the folder of a run, its name and version."""

UNKNOWN = object()
"""What a muted call returns."""


class Inert:
    """Stands in for a logger, or for a part of one: it is of the same class to ``isinstance``, and it does nothing.

    Plain attributes (``log_dir``, ``version``) are the original's, and what the original lacks is missing here too.
    Other attributes, and results of calls and of indexing, are inert in their turn. Assignments have no effect.
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

    def __enter__(self) -> "Inert":  # noqa: PYI034 - it enters as what the original enters as, which is unknown
        return Inert()

    def __exit__(self, *_: object) -> None:
        """Leave errors alone."""

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
